"""Which FAN a checkpoint is of is told by its weights."""

import pytest
import torch
from named_weights import without_weights
from small_models import small_hybrid

from fan_mm.models import FANConvNeXt, FANHybrid, FANSwin, FANViT
from fan_mm.models.backbones.staged import StagedBackbone
from fan_mm.models.checkpoints import Anatomy


@pytest.mark.parametrize('cls', [FANViT, FANHybrid, FANSwin, FANConvNeXt])
def test_sizes_are_told_apart_by_their_names(cls):
    for arch in cls.arch_zoo:
        anatomy = without_weights(dict(type=cls.__name__, arch=arch, out_indices=0)).anatomy
        assert anatomy.arch == arch
        assert str(anatomy).startswith(f'{cls.__name__} {arch} (width ')


@pytest.mark.parametrize('cls', [FANViT, FANHybrid, FANSwin, FANConvNeXt])
def test_a_subclass_reads_checkpoints_of_its_family(cls):
    class Mine(cls):
        """With something of the user's."""

    staged = issubclass(cls, StagedBackbone)
    size = dict(depths=(1, 1), num_heads=(2, 2)) if staged else dict(depth=1, num_heads=2)
    if cls is FANHybrid:
        size |= dict(stem_depths=(1, 1))
    state = cls(dict(embed_dims=16, **size)).state_dict()
    mine = Mine(dict(embed_dims=16, **size))
    mine.load_state_dict(state)
    assert all(torch.equal(value, state[key]) for key, value in mine.state_dict().items())


def test_a_custom_size_is_recognised_by_its_weights():
    backbone = small_hybrid()
    assert Anatomy.of(backbone.state_dict()) == backbone.anatomy
    assert 'unreleased' in str(backbone.anatomy)
    swin = FANSwin(
        dict(embed_dims=16, depths=(1, 2, 1), num_heads=(2, 2, 4)), out_type='avg_featmap'
    )
    assert Anatomy.of(swin.state_dict()) == swin.anatomy
    for kind in ('se', 'csa'):
        vit = FANViT(dict(embed_dims=16, depth=1, num_heads=2), channel_attention=kind)
        assert Anatomy.of(vit.state_dict()) == vit.anatomy
