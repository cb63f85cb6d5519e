"""Tokens as maps and back, and by how much a map is padded."""

import pytest
import torch

from fan_mm.models.layers import as_map, as_tokens
from fan_mm.models.layers.token_map import padding


@pytest.mark.parametrize(
    ('size', 'multiple', 'lacking'),
    [
        ((14, 21), 7, (0, 0)),
        ((1, 8), 7, (6, 6)),
        ((13, 15), 7, (1, 6)),
        ((2, 3), 2, (0, 1)),
        ((3, 2), 2, (1, 0)),
        ((5, 9), 1, (0, 0)),
    ],
)
def test_padding_is_the_least_to_a_multiple(size, multiple, lacking):
    assert tuple(padding(size, multiple)) == lacking


def test_tokens_lie_row_by_row():
    tokens = torch.arange(2 * 15 * 4).reshape(2, 15, 4)
    image = as_map(tokens, (3, 5))
    assert image.shape == (2, 4, 3, 5)
    assert torch.equal(image[1, :, 2, 3], tokens[1, 13])
    assert torch.equal(as_tokens(image), tokens)
