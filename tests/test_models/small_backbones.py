"""Small FAN-ViTs and FAN-Hybrids, and the released variants."""

import copy

import torch
from torch import nn

from fan_mm.models import FANHybrid, FANViT

VARIANTS = [(backbone, arch) for backbone in (FANViT, FANHybrid) for arch in backbone.arch_zoo]
IDS = [f'{backbone.__name__}-{arch}' for backbone, arch in VARIANTS]
VIT = dict(embed_dims=16, depth=3, num_heads=2)
HYBRID = dict(VIT, stem_depths=(1, 2), stem_channels=(8, 12), tap=1)
WIDENED = dict(HYBRID, widen=dict(after=1, embed_dims=24, num_heads=3))
SMALL = [(FANViT, VIT), (FANHybrid, HYBRID), (FANHybrid, WIDENED)]
SMALL_IDS = ['vit', 'hybrid', 'widened']


def all_outputs(backbone, arch):
    return tuple(range(4)) if backbone is FANHybrid else tuple(range(arch['depth'] + 1))


def make(backbone, arch, seed=0, **options):
    """A small backbone with weights away from their trivial initial values."""
    torch.manual_seed(seed)
    module = backbone(copy.deepcopy(arch), **options)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and not name.endswith('running_var'):
            nn.init.normal_(tensor, std=0.2)
    return module
