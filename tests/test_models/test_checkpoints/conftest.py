import pytest
import torch
from named_weights import Classifier
from small_models import small_hybrid

from fan_mm.models.checkpoints import to_official


@pytest.fixture(scope='module')
def classifier():
    return Classifier(seed=1)


@pytest.fixture
def trained():
    """A small classifier, its weights' official names, and a 5-class head beside them."""
    backbone = small_hybrid(seed=1)
    state = {to_official(key): value for key, value in backbone.state_dict().items()}
    return backbone, state | {'head.weight': torch.ones(5, 32), 'head.bias': torch.zeros(5)}
