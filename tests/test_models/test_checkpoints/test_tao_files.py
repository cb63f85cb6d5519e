"""Checkpoints of NVIDIA TAO, whose prefixes and norms are its own."""

import official
import pytest
import torch
from named_weights import TINY, prefixed

from fan_mm.models import FANHybrid, FANSwin
from fan_mm.models.checkpoints import load_pretrained
from fan_mm.models.conversion import convert, convert_file


@pytest.mark.parametrize(
    ('toolkit', 'prefix', 'head'),
    [
        ('classification', 'model.', None),
        ('segformer', 'model.backbone.', 'model.decode_head.linear_c1.proj.weight'),
        ('rtdetr', 'model.model.backbone.0.body.', 'model.model.transformer.level_embed'),
        ('dino', 'student.backbone.', 'student.input_proj.0.0.weight'),
    ],
)
def test_a_tao_file(toolkit, prefix, head, tmp_path):
    state = official.state_dict(TINY)
    if head:
        state = {key: value for key, value in state.items() if 'head' not in key}
    state = prefixed(prefix, state)
    if head:
        state[head] = torch.ones(4, 4)
    path = tmp_path / 'tao.pth'
    torch.save(dict(tao_model=toolkit, state_dict=state, epoch=1), path)
    conversion = convert_file(path, tmp_path / 'ours.pth')
    assert conversion.state_dict['backbone.norm.weight'].shape == (192,)
    assert ('head.fc.weight' in conversion.state_dict) == (toolkit == 'classification')
    if head:
        names = head.removeprefix(prefix.removesuffix('backbone.')), f'state_dict.{head}'
        assert any(conversion.names.get(name) == () for name in names)
        assert any('TAO' in remark for remark in conversion.remarks)
    backbone = FANHybrid('tiny', out_type='cls_token')
    load_pretrained(backbone, path)
    assert torch.equal(backbone.norm.weight, state[f'{prefix}norm.weight'])


def test_taos_fan_swin_has_four_norms(tmp_path):
    state = official.state_dict('fan_swin_tiny_patch4_window7_224')
    taos = {
        key.replace('norm.', 'norm3.', 1) if key.startswith('norm.') else key: v
        for key, v in state.items()
    }
    for i, width in enumerate((96, 192, 384)):
        taos |= {f'norm{i}.weight': torch.ones(width), f'norm{i}.bias': torch.zeros(width)}
    content = dict(tao_model='classification', state_dict=prefixed('model.', taos))
    torch.save(content, tmp_path / 'tao.pth')
    final = FANSwin('tiny', out_type='avg_featmap')
    load_pretrained(final, tmp_path / 'tao.pth')
    assert torch.equal(final.norm.weight, state['norm.weight'])
    dense = FANSwin('tiny', out_indices=(0, 1, 2, 3))
    load_pretrained(dense, tmp_path / 'tao.pth')
    assert torch.equal(dense.norm3.weight, state['norm.weight'])
    conversion = convert(content)
    assert conversion.backbone['out_type'] == 'avg_featmap'
    plain = convert(state)
    assert conversion.state_dict.keys() == plain.state_dict.keys()
    assert all(torch.equal(v, plain.state_dict[key]) for key, v in conversion.state_dict.items())
