"""Checkpoints of other networks and sizes, incomplete ones, and those that would run code are refused in one line."""

import os

import official
import pytest
import torch
from mmengine.registry import MODELS
from named_weights import without_weights
from small_models import small_hybrid
from torch import nn

from fan_mm.errors import InputError
from fan_mm.models import FANHybrid, FANSwin, FANViT
from fan_mm.models.checkpoints import fit
from fan_mm.models.shapes_alone import shapes_alone

REFUSED = {
    'another size': (
        'fan_base_16_p4_hybrid',
        dict(type='FANHybrid', arch='small'),
        r'is a FANHybrid base \(width 448, 3\+3\+16 blocks, eca, 8 channel heads\), '
        r'but the model is a FANHybrid small ',
    ),
    'another family': (
        'fan_small_12_p16_224',
        dict(type='FANHybrid', arch='small'),
        'is a FANViT small .* but the model is a FANHybrid small',
    ),
    'another channel attention': (
        'fan_small_12_p16_224_se_attn',
        dict(type='FANViT', arch='small'),
        r'is a FANViT small \(width 384, 12 blocks, se\), but .* eca, 8 channel heads',
    ),
    'a depth of the same width': (
        'fan_swin_small_patch4_window7_224',
        dict(type='FANSwin', arch='tiny', out_indices=0),
        'is a FANSwin small .* but the model is a FANSwin tiny',
    ),
    'the segmentation form': (
        'seg_FANSwinTransformer',
        dict(type='FANSwin', arch='small'),
        'eca, 8 channel heads.*eca, 3 channel heads',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_other_fans_are_refused_by_name(case):
    name, config, message = REFUSED[case]
    state, backbone = official.state_dict(name, device='meta'), without_weights(config)
    for strict in (True, False):
        with pytest.raises(InputError, match=message):
            backbone.load_state_dict(state, strict=strict)
    segmentor = nn.ModuleDict({'backbone': backbone})
    with pytest.raises(InputError, match=message):
        segmentor.load_state_dict({f'backbone.{key}': value for key, value in state.items()})


FOREIGN = {
    'a ResNet': dict(type='mmpretrain.ResNet', depth=18),
    'a plain ViT': dict(type='mmpretrain.VisionTransformer', arch='deit-tiny'),
    'a Swin Transformer': dict(type='mmpretrain.SwinTransformer', arch='tiny'),
    'a ConvNeXt': dict(type='mmpretrain.ConvNeXt', arch='tiny'),
    'a MiT (SegFormer)': dict(type='mmseg.MixVisionTransformer'),
    'a PoolFormer': dict(type='mmpretrain.PoolFormer', arch='s12'),
    'an XCiT': dict(
        type='mmpretrain.XCiT', embed_dims=128, depth=1, num_heads=4, mlp_ratio=4, cls_attn_layers=1
    ),
}
TORCHVISION = {
    'a plain ViT': 'vit_b_16',
    'a Swin Transformer': 'swin_t',
    'a ConvNeXt': 'convnext_tiny',
}
TIMM = {
    'a plain ViT': 'blocks.0.attn.qkv.weight',
    'a Swin Transformer': 'layers.0.blocks.0.attn.relative_position_bias_table',
    'a ConvNeXt': 'stages.0.blocks.0.conv_dw.weight',
    'a MiT (SegFormer)': 'patch_embed1.proj.weight',
    'an XCiT': 'blocks.0.local_mp.conv1.weight',
}


@pytest.mark.parametrize('what', FOREIGN)
def test_networks_of_the_task_libraries_are_refused_by_name(what):
    library = FOREIGN[what]['type'].partition('.')[0]
    utils = pytest.importorskip(f'{library}.utils')
    utils.register_all_modules(init_default_scope=False)
    state = MODELS.build(FOREIGN[what]).state_dict()
    with shapes_alone():
        backbones = [FANHybrid('tiny'), FANSwin('tiny'), FANViT('tiny')]
    for backbone in backbones:
        with pytest.raises(InputError, match='does not match any FAN: it looks like') as error:
            backbone.load_state_dict(state)
        assert str(error.value).endswith(what)


@pytest.mark.parametrize('what', TORCHVISION)
def test_networks_of_torchvision_are_refused_by_name(what):
    models = pytest.importorskip('torchvision.models')
    with shapes_alone():
        state = getattr(models, TORCHVISION[what])().state_dict()
    with pytest.raises(InputError, match='does not match any FAN: it looks like') as error:
        fit(state, FANSwin('tiny'))
    assert str(error.value).endswith(what)


@pytest.mark.parametrize('what', TIMM)
def test_networks_of_timm_are_refused_by_name(what):
    with pytest.raises(InputError, match='does not match any FAN: it looks like') as error:
        fit({'cls_token': torch.zeros(1), TIMM[what]: torch.zeros(1)}, FANSwin('tiny'))
    assert str(error.value).endswith(what)


def test_an_unknown_network_is_refused_by_its_keys():
    with pytest.raises(
        InputError, match=r'does not match any FAN: it has 1 tensors named foo\.bar'
    ):
        fit({'foo.bar': torch.zeros(1)}, small_hybrid())
    named_alike = {'patch_embed.proj.weight': torch.zeros(1), 'foo.a': torch.zeros(1)}
    with pytest.raises(
        InputError, match=r'does not match any FAN: it has 3 tensors named patch_embed\.proj'
    ):
        fit({**named_alike, 'foo.b': torch.zeros(1)}, FANSwin('tiny'))


def test_incomplete_files_are_refused(trained, tmp_path):
    _, state = trained

    def refused(changed, message):
        path = tmp_path / 'weights.pth'
        torch.save(changed, path)
        model = small_hybrid(init_cfg=dict(type='Pretrained', checkpoint=str(path)))
        before = {key: value.clone() for key, value in model.state_dict().items()}
        with pytest.raises(InputError, match=message) as error:
            model.init_weights()
        assert '\n' not in str(error.value)
        assert str(path) in str(error.value)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())

    lost = {key: value for key, value in state.items() if not key.startswith('blocks.1.norm1')}
    refused(lost, r'lacks blocks\.1\.norm1\.weight, blocks\.1\.norm1\.bias$')
    refused({k: v for k, v in state.items() if not k.startswith('norm.')}, r'lacks norm\.weight')
    refused(
        state | {'blocks.0.attn.extra': torch.ones(1)}, r'unknown blocks\.0\.token_mixing\.extra'
    )
    refused(
        state | {'pos_embed.token_projection.weight': torch.ones(32, 60, 1, 1)},
        r'token_projection\.weight is \(32, 60, 1, 1\), not \(32, 64, 1, 1\)',
    )
    refused(dict(epoch=1, args='x'), 'contains no weights, only: epoch, args')
    refused([1, 2], 'not a list')

    path = tmp_path / 'weights.pth'
    path.write_bytes(b'no torch file')
    with pytest.raises(InputError, match=r'is not a torch checkpoint') as error:
        small_hybrid(init_cfg=dict(type='Pretrained', checkpoint=str(path))).init_weights()
    assert str(error.value).count('weights.pth') == 1


def test_a_checkpoint_that_wants_to_run_code_is_refused(trained, tmp_path):
    _, state = trained

    class Exploit:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'executed'),)

    path = tmp_path / 'evil.pth'
    torch.save(dict(state_dict=state, args=Exploit()), path)
    model = small_hybrid(init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    with pytest.raises(InputError, match=r'evil\.pth was refused: loading it would run'):
        model.init_weights()
    assert not (tmp_path / 'executed').exists()
