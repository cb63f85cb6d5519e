"""Patches and downsampling: how many tokens come out, and on which grid they lie."""

import pytest
import torch

from fan_mm.models.layers import ConvPatchEmbed, OverlapDownsample

BN = dict(type='BN')


@pytest.mark.parametrize('grid', [(14, 14), (3, 5), (4, 6), (1, 1)])
def test_downsampling_halves_the_grid_and_rounds_up(grid):
    height, width = grid
    tokens, found = OverlapDownsample(8, 12)(torch.randn(2, height * width, 8), grid)
    assert found == ((height + 1) // 2, (width + 1) // 2)
    assert tokens.shape == (2, found[0] * found[1], 12)


@pytest.mark.parametrize('patch', [16, 8, 4])
def test_every_step_halves_the_picture_and_the_last_has_the_width(patch):
    embed = ConvPatchEmbed(64, BN, patch_size=patch).eval()
    stages, tokens = embed(torch.randn(1, 3, 64, 96))
    assert stages == [] and tokens.shape == (1, 64 // patch, 96 // patch, 64)
    widths = [m.weight.shape[0] for m in embed.modules() if isinstance(m, torch.nn.Conv2d)]
    assert widths == {16: [8, 16, 32, 64], 8: [16, 32, 64], 4: [16, 64]}[patch]
