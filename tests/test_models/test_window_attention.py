import math

import numpy as np
import official
import pytest
import torch
from torch import nn

from fan_mm.models.layers.window_attention import (
    WindowAttention,
    relative_position_index,
    roll,
    shift_mask,
)


def literal(layer, tokens, grid):
    """Every window of every picture by itself, from the formulas of spec 6 and 7.5."""
    window, shift, heads = layer.window, layer.shift, layer.num_heads
    if not layer.always_shift and min(grid) <= window:
        shift = 0
    batch, _, channels = tokens.shape
    d = channels // heads
    height, width = (math.ceil(length / window) * window for length in grid)
    x = torch.zeros(batch, height, width, channels)
    x[:, : grid[0], : grid[1]] = tokens.reshape(batch, *grid, channels)
    q, k, v = layer.qkv(x).reshape(batch, height, width, 3, heads, d).unbind(3)
    out = torch.zeros(batch, height, width, heads, d)
    for top in range(0, height, window):
        for left in range(0, width, window):
            places = [
                ((top + i + shift) % height, (left + j + shift) % width, i, j)
                for i in range(window)
                for j in range(window)
            ]
            wrapped = [
                (top + i + shift >= height, left + j + shift >= width) for *_, i, j in places
            ]
            for h in range(heads):
                for n, (y, x_, i, j) in enumerate(places):
                    scores = []
                    for m, (y2, x2, i2, j2) in enumerate(places):
                        row = (i - i2 + window - 1) * (2 * window - 1) + j - j2 + window - 1
                        score = (q[:, y, x_, h] * k[:, y2, x2, h]).sum(-1) * d**-0.5
                        score = score + layer.relative_position_bias_table[row, h]
                        scores.append(score + (0 if wrapped[n] == wrapped[m] else -100))
                    weights = torch.stack(scores, -1).softmax(-1)
                    values = torch.stack([v[:, y2, x2, h] for y2, x2, *_ in places], 1)
                    out[:, y, x_, h] = (weights[..., None] * values).sum(1)
    return layer.proj(out.flatten(3))[:, : grid[0], : grid[1]].flatten(1, 2)


@pytest.mark.parametrize('always_shift', [False, True])
@pytest.mark.parametrize('shift', [0, 1])
@pytest.mark.parametrize('grid', [(6, 9), (5, 7), (3, 4), (2, 8), (1, 1)])
def test_equals_the_formula(grid, shift, always_shift):
    torch.manual_seed(0)
    layer = WindowAttention(8, 2, window=3, shift=shift, always_shift=always_shift)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    tokens = torch.randn(2, grid[0] * grid[1], 8)
    with torch.no_grad():
        torch.testing.assert_close(layer(tokens, grid), literal(layer, tokens, grid))


def test_index_and_mask_are_those_of_official_checkpoints():
    unit = official.golden('unit_modules')
    index = relative_position_index(7)
    assert np.array_equal(
        index.numpy(), unit['swin_block_shifted/param/attn.relative_position_index']
    )
    mask = shift_mask(14, 14, 7, 3, torch.zeros(1))
    assert np.array_equal(mask.numpy(), unit['swin_block_shifted/param/attn_mask'])


def test_masks_follow_device_type_and_size():
    mask = shift_mask(6, 9, 3, 1, torch.zeros(1, dtype=torch.bfloat16))
    assert mask.shape == (6, 9, 9)
    assert mask.dtype == torch.bfloat16
    assert set(mask.unique().tolist()) == {-100.0, 0.0}
    assert shift_mask(6, 9, 3, 1, torch.zeros(1, device='meta')).device.type == 'meta'


def test_trains_after_inference_mode():
    layer = WindowAttention(4, 1, window=2, shift=1)
    with torch.inference_mode():
        layer(torch.randn(1, 24, 4), (4, 6))
    layer(torch.randn(1, 24, 4), (4, 6)).sum().backward()
    assert layer.relative_position_bias_table.grad.abs().sum() > 0


def test_the_index_is_not_saved():
    assert 'relative_position_index' not in WindowAttention(4, 1, 2, 1).state_dict()


@pytest.mark.parametrize('record', ['compile', 'export'])
def test_compiled_windows_roll_plainly_too(record):
    """Compilation guards its decisions; inductor's C++ for the detour of exports does not compile."""
    layer = WindowAttention(8, 2, window=3, shift=1).eval()
    nn.init.normal_(layer.relative_position_bias_table)
    names = []

    def keep(graph, example):
        names.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    tokens = torch.randn(1, 48, 8)
    if record == 'compile':
        compiled = torch.compile(lambda x: layer(x, (6, 8)), backend=keep, fullgraph=True)
        torch.testing.assert_close(compiled(tokens), layer(tokens, (6, 8)))
    else:
        graph = torch.export.export(layer, (tokens, (6, 8))).graph
        names = [str(node.target) for node in graph.nodes]
    assert any('roll' in name for name in names) == (record == 'compile'), names
    assert any('index_select' in name for name in names) == (record == 'export'), names


@pytest.mark.parametrize('grid', [(4, 6), (7, 1), (14, 21)])
@pytest.mark.parametrize('shift', [0, 1, 3])
def test_a_shift_that_a_graph_computes_rolls_alike(grid, shift):
    x = torch.randn(2, *grid, 3)
    expected = torch.roll(x, (-shift, -shift), (1, 2))
    assert torch.equal(roll(x, shift), expected)
    assert torch.equal(roll(x, torch.tensor([shift])), expected)
