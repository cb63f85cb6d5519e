"""A classifier of a small FAN, a model that is no FAN, and other names for their weights."""

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from small_models import SMALL_HYBRID
from torch import nn

from fan_mm.models import FANHybrid
from fan_mm.models.shapes_alone import shapes_alone

TINY = 'fan_tiny_8_p4_hybrid'
OPTIMIZER = {'state': {0: {'exp_avg': torch.zeros(3)}}, 'param_groups': [dict(lr=0.1, params=[0])]}


class Classifier(BaseModel):
    """A small FAN and a head, as mmpretrain's ImageClassifier names them."""

    def __init__(self, seed=0, backbone=None):
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = backbone or FANHybrid(dict(SMALL_HYBRID), out_type='cls_token')
        self.head = nn.Module()
        self.head.fc = nn.Linear(32, 5)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        raise NotImplementedError


class ResNet(BaseModel):
    """No FAN, and no ``backbone``."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.body = nn.ModuleList([nn.Linear(4, 4) for _ in range(5)])

    def forward(self, inputs, data_samples=None, mode='tensor'):
        raise NotImplementedError


def prefixed(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def without_weights(config):
    """A backbone on the meta device."""
    with shapes_alone():
        return MODELS.build(config)
