import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from stripe_model import StripeModel

from fan_mm.evaluation import RobustnessSweep


@pytest.fixture
def cfg(stripe_config):
    """A config that evaluates `stripe_model.StripeModel`."""
    init_default_scope('mmseg')
    return Config.fromfile(stripe_config, import_custom_modules=False)


@pytest.fixture
def sweep(cfg):
    """Makes a sweep of a few cells, with the config's parts where none are given."""
    from stripe_sweeps import SMALL

    def make(model=None, loader=None, evaluator=None, **options):
        return RobustnessSweep(
            model or StripeModel(),
            loader or cfg.test_dataloader,
            evaluator or cfg.test_evaluator,
            **{**SMALL, **options},
        )

    return make
