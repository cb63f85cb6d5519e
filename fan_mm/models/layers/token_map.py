"""Tokens and maps are two views of the same memory: a channels-last map is a list of tokens."""

from torch import Tensor


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """View tokens (B, H * W, C) as a map (B, C, H, W), channels last in memory, without a copy."""
    return tokens.unflatten(1, grid).permute(0, 3, 1, 2)


def as_tokens(x: Tensor) -> Tensor:
    """View a channels-last map (B, C, H, W) as tokens (B, H * W, C); others are copied."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)
