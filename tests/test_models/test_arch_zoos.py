"""Sizes that FAN takes over from Swin and ConvNeXt, beside mmpretrain's."""

import pytest

from fan_mm.models import FANConvNeXt, FANSwin

backbones = pytest.importorskip('mmpretrain.models.backbones')


@pytest.mark.parametrize('arch', FANSwin.arch_zoo)
def test_swin(arch):
    theirs = backbones.SwinTransformer.arch_zoo[arch]
    ours = FANSwin.arch_zoo[arch]
    assert set(ours) == {'embed_dims', 'depths', 'num_heads'}
    assert all(list(theirs[key]) == list(ours[key]) for key in ('depths', 'num_heads'))
    assert theirs['embed_dims'] == ours['embed_dims']


@pytest.mark.parametrize('arch', FANConvNeXt.arch_zoo)
def test_convnext(arch):
    theirs = backbones.ConvNeXt.arch_settings[arch]
    ours = FANConvNeXt.arch_zoo[arch]
    assert list(theirs['depths']) == list(ours['depths'])
    assert theirs['channels'] == [ours['embed_dims'] * 2**stage for stage in range(4)]
    # the heads are Swin's of the same width
    heads = {zoo['embed_dims']: zoo['num_heads'] for zoo in FANSwin.arch_zoo.values()}
    assert tuple(ours['num_heads']) == tuple(heads[ours['embed_dims']])
