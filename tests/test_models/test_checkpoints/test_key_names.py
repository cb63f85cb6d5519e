"""Every key of every official model has its place, and names translate both ways."""

import official
import pytest
import torch
from named_weights import without_weights
from torch import nn

from fan_mm.models.checkpoints import fit, to_official, to_ours, translate


@pytest.mark.parametrize('name', official.BACKBONES)
def test_every_key_of_every_official_model_is_accounted_for(name):
    state = official.state_dict(name, device='meta')
    config = official.backbone_config(name)
    backbone = without_weights(config)
    own = backbone.state_dict()

    fitted = fit(state, backbone)
    assert {key: value.shape for key, value in fitted.items()} == {
        key: value.shape for key, value in own.items()
    }
    left_out = {key for key in state if to_ours(key) not in fitted}
    expected = {key for key in state if key.startswith(('head.', 'aux_head.'))}
    if config['type'] == 'FANSwin':
        expected |= {k for k in state if k.endswith(('attn_mask', 'relative_position_index'))}
    elif 'out_indices' in config:
        unfelt = ('attn', 'mlp', 'gamma2')  # by the patch tokens, spec 4.2
        expected |= {k for k in state if k.startswith('cls_attn') and k.split('.')[2] in unfelt}
        expected |= {'cls_token'}
    assert left_out == expected

    buffers = ('attn_mask', 'index', 'running_mean', 'running_var', 'num_batches_tracked')
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    parameters += sum(state[k].numel() for k in left_out if not k.endswith(buffers))
    assert parameters == official.VARIANTS[name]['parameters']

    backbone.load_state_dict(state, strict=True)
    model = nn.ModuleDict({'backbone': backbone})
    model.load_state_dict({f'backbone.{key}': value for key, value in state.items()}, strict=True)


@pytest.mark.parametrize('name', official.BACKBONES)
def test_names_translate_both_ways(name):
    keys = official.keys(name)
    ours = [to_ours(key) for key in keys]
    assert [to_official(key) for key in ours] == list(keys)
    assert [to_ours(key) for key in ours] == ours
    assert len(set(ours)) == len(ours)
    assert any(key.endswith('token_mixing.proj.weight') for key in ours)
    assert not any('.mlp_v.' in key for key in ours)


def test_translate_leaves_the_convolutional_stem_alone():
    key = 'patch_embed.backbone.stages.0.blocks.0.mlp.fc1.weight'
    assert list(translate({key: torch.ones(1)})) == [key]
