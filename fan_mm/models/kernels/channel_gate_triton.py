"""Triton kernels of the channel attention's similarity and its gradients, on tokens (B, N, C).

A program processes the channels of one head for some of the tokens. Sums over all tokens are written as
partial sums, which the next kernel adds up first.
"""

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor

from fan_mm.models.kernels.launch import launch
from fan_mm.models.kernels.library import parts_of, power_of_2

TOKENS = 32  # per step
PROGRAMS = 512  # minimum number of programs that the tokens are distributed over
MOST_PARTS = 32


@triton.jit
def _place(heads, WIDTH: tl.constexpr, CHANNELS: tl.constexpr):
    image = tl.program_id(0) // heads
    head = tl.program_id(0) % heads
    within = tl.arange(0, CHANNELS)
    return image, head, head * WIDTH + within, within < WIDTH


@triton.jit(do_not_specialize=['tokens', 'heads', 'share', 'parts'])
def _scan(
    u, q, partial, tokens, heads, share, parts,
    C: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, TOKENS: tl.constexpr,
):  # fmt: skip
    """Largest value and sum of exponentials of every channel, in parts (B, 4, parts, C)."""
    image, _, c, known = _place(heads, WIDTH, CHANNELS)
    part = tl.program_id(1)
    first = image.to(tl.int64) * tokens * C
    largest_u = tl.full((CHANNELS,), float('-inf'), tl.float32)
    largest_q = tl.full((CHANNELS,), float('-inf'), tl.float32)
    sum_u = tl.zeros((CHANNELS,), tl.float32)
    sum_q = tl.zeros((CHANNELS,), tl.float32)
    end = tl.minimum(part * share + share, tokens)
    for start in range(part * share, end, TOKENS):
        n = start + tl.arange(0, TOKENS)
        places = first + (n * C)[:, None] + c[None, :]
        valid = (n < end)[:, None] & known[None, :]
        x = tl.load(u + places, mask=valid, other=float('-inf')).to(tl.float32)
        y = tl.load(q + places, mask=valid, other=float('-inf')).to(tl.float32)
        new_u = tl.where(known, tl.maximum(largest_u, tl.max(x, 0)), 0.0)
        new_q = tl.where(known, tl.maximum(largest_q, tl.max(y, 0)), 0.0)
        sum_u = sum_u * tl.exp(largest_u - new_u) + tl.sum(tl.exp(x - new_u[None, :]), 0)
        sum_q = sum_q * tl.exp(largest_q - new_q) + tl.sum(tl.exp(y - new_q[None, :]), 0)
        largest_u, largest_q = new_u, new_q
    at = partial + (image * 4 * parts + part) * C + c
    step = parts * C
    tl.store(at, largest_u, mask=known)
    tl.store(at + step, largest_q, mask=known)
    tl.store(at + 2 * step, sum_u, mask=known)
    tl.store(at + 3 * step, sum_q, mask=known)


@triton.jit
def _join(largest, sums):
    """Statistics of all parts (parts, CHANNELS) together."""
    most = tl.max(largest, 0)
    return most, tl.sum(sums * tl.exp(largest - most[None, :]), 0)


@triton.jit(do_not_specialize=['tokens', 'heads', 'share', 'parts'])
def _similarity(
    u, q, partial, statistics, prototypes, similarity, tokens, heads, share, parts,
    C: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, TOKENS: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Statistics (B, 4, C), prototypes (B, N, h), and parts (B, parts, C) of the similarity."""
    image, head, c, known = _place(heads, WIDTH, CHANNELS)
    part = tl.program_id(1)
    first = image.to(tl.int64) * tokens * C
    all_parts = tl.arange(0, PARTS)
    at = partial + (image * 4 * parts + all_parts)[:, None] * C + c[None, :]
    mask = (all_parts < parts)[:, None] & known[None, :]
    step = parts * C
    low = float('-inf')
    largest_u, sum_u = _join(
        tl.where(known[None, :], tl.load(at, mask=mask, other=low), 0.0),
        tl.load(at + 2 * step, mask=mask, other=0.0),
    )
    largest_q, sum_q = _join(
        tl.where(known[None, :], tl.load(at + step, mask=mask, other=low), 0.0),
        tl.load(at + 3 * step, mask=mask, other=0.0),
    )
    if part == 0:
        kept = statistics + image * 4 * C + c
        tl.store(kept, largest_u, mask=known)
        tl.store(kept + C, largest_q, mask=known)
        tl.store(kept + 2 * C, sum_u, mask=known)
        tl.store(kept + 3 * C, sum_q, mask=known)
    scale_u = tl.where(known, 1.0 / (sum_u * WIDTH), 0.0)
    scale_q = tl.where(known, 1.0 / sum_q, 0.0)
    total = tl.zeros((CHANNELS,), tl.float32)
    end = tl.minimum(part * share + share, tokens)
    for start in range(part * share, end, TOKENS):
        n = start + tl.arange(0, TOKENS)
        places = first + (n * C)[:, None] + c[None, :]
        valid = (n < end)[:, None] & known[None, :]
        x = tl.load(u + places, mask=valid, other=low).to(tl.float32)
        prototype = tl.sum(tl.exp(x - largest_u[None, :]) * scale_u[None, :], 1)
        tl.store(prototypes + (image * tokens + n) * heads + head, prototype, mask=n < end)
        y = tl.load(q + places, mask=valid, other=low).to(tl.float32)
        total += tl.sum(tl.exp(y - largest_q[None, :]) * prototype[:, None], 0)
    tl.store(similarity + (image * parts + part) * C + c, total * scale_q, mask=known)


@triton.jit(do_not_specialize=['tokens', 'heads', 'share', 'parts'])
def _gradients_of_queries(
    gradient, u, q, similarity, prototypes, statistics, of_q, of_prototypes, means,
    tokens, heads, share, parts,
    C: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, TOKENS: tl.constexpr,
):  # fmt: skip
    """Gradients of q and of the prototypes (B, N, h), divided by d; parts of a sum for that of u."""
    image, head, c, known = _place(heads, WIDTH, CHANNELS)
    part = tl.program_id(1)
    first = image.to(tl.int64) * tokens * C
    at = statistics + image * 4 * C + c
    largest_u = tl.load(at, mask=known, other=0.0)
    largest_q = tl.load(at + C, mask=known, other=0.0)
    scale_u = 1.0 / tl.load(at + 2 * C, mask=known, other=1.0)
    scale_q = 1.0 / tl.load(at + 3 * C, mask=known, other=1.0)
    g = tl.load(gradient + image * C + c, mask=known, other=0.0) * scale_q
    s = tl.load(similarity + image * C + c, mask=known, other=0.0)
    total = tl.zeros((CHANNELS,), tl.float32)
    end = tl.minimum(part * share + share, tokens)
    for start in range(part * share, end, TOKENS):
        n = start + tl.arange(0, TOKENS)
        places = first + (n * C)[:, None] + c[None, :]
        valid = (n < end)[:, None] & known[None, :]
        y = tl.load(q + places, mask=valid, other=float('-inf')).to(tl.float32)
        shares = tl.exp(y - largest_q[None, :]) * g[None, :]
        of_prototype = tl.sum(shares, 1) / WIDTH
        row = (image * tokens + n) * heads + head
        tl.store(of_prototypes + row, of_prototype, mask=n < end)
        prototype = tl.load(prototypes + row, mask=n < end, other=0.0)
        found = shares * (prototype[:, None] - s[None, :])
        tl.store(of_q + places, found.to(of_q.dtype.element_ty), mask=valid)
        x = tl.load(u + places, mask=valid, other=float('-inf')).to(tl.float32)
        total += tl.sum(tl.exp(x - largest_u[None, :]) * of_prototype[:, None], 0)
    tl.store(means + (image * parts + part) * C + c, total * scale_u, mask=known)


@triton.jit(do_not_specialize=['tokens', 'heads', 'share', 'parts'])
def _gradients_of_tokens(
    u, statistics, of_prototypes, means, of_u, tokens, heads, share, parts,
    C: tl.constexpr, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, TOKENS: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Gradient of u."""
    image, head, c, known = _place(heads, WIDTH, CHANNELS)
    part = tl.program_id(1)
    first = image.to(tl.int64) * tokens * C
    all_parts = tl.arange(0, PARTS)
    at = means + (image * parts + all_parts)[:, None] * C + c[None, :]
    mask = (all_parts < parts)[:, None] & known[None, :]
    mean = tl.sum(tl.load(at, mask=mask, other=0.0), 0)
    at = statistics + image * 4 * C + c
    largest = tl.load(at, mask=known, other=0.0)
    scale = 1.0 / tl.load(at + 2 * C, mask=known, other=1.0)
    end = tl.minimum(part * share + share, tokens)
    for start in range(part * share, end, TOKENS):
        n = start + tl.arange(0, TOKENS)
        places = first + (n * C)[:, None] + c[None, :]
        valid = (n < end)[:, None] & known[None, :]
        x = tl.load(u + places, mask=valid, other=float('-inf')).to(tl.float32)
        row = (image * tokens + n) * heads + head
        of_prototype = tl.load(of_prototypes + row, mask=n < end, other=0.0)
        softmax = tl.exp(x - largest[None, :]) * scale[None, :]
        found = softmax * (of_prototype[:, None] - mean[None, :])
        tl.store(of_u + places, found.to(of_u.dtype.element_ty), mask=valid)


def _plan(
    batch: int, tokens: int, channels: int, heads: int
) -> tuple[tuple[int, int, int], tuple[int, int, int, int], dict[str, int]]:
    """How the work is spread: the grid; numbers and constants that all kernels share."""
    groups = batch * heads
    parts = min(MOST_PARTS, parts_of(PROGRAMS, groups), parts_of(tokens, TOKENS))
    share = parts_of(parts_of(tokens, parts), TOKENS) * TOKENS
    parts = parts_of(tokens, share)
    width = channels // heads
    constants = dict(C=channels, WIDTH=width, CHANNELS=power_of_2(width), TOKENS=TOKENS)
    return (groups, parts, 1), (tokens, heads, share, parts), constants


def similarity(u: Tensor, q: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """See `channel_gate`.

    Args:
        u: (B, N, C), contiguous.
        q: (B, N, C), contiguous.
        heads: h.

    Returns:
        Similarity (B, C), prototypes (B, N, h), and statistics (B, 4, C): the maxima of u and q, then
        the sums of u and q.
    """
    batch, tokens, channels = u.shape
    grid, numbers, constants = _plan(batch, tokens, channels, heads)
    parts = grid[1]
    new = functools.partial(torch.empty, dtype=torch.float32, device=u.device)
    partial, found = new((batch, 4, parts, channels)), new((batch, parts, channels))
    statistics, prototypes = new((batch, 4, channels)), new((batch, tokens, heads))
    launch(_scan, grid, u, q, partial, *numbers, **constants)
    constants['PARTS'] = power_of_2(parts)
    outputs = statistics, prototypes, found
    launch(_similarity, grid, u, q, partial, *outputs, *numbers, **constants)
    return found.sum(1), prototypes, statistics


def gradients(
    gradient: Tensor,
    u: Tensor,
    q: Tensor,
    similarity: Tensor,
    prototypes: Tensor,
    statistics: Tensor,
) -> tuple[Tensor, Tensor]:
    """See `channel_gate`.

    Args:
        gradient: of the similarity, (B, C).
        u: (B, N, C), contiguous.
        q: (B, N, C), contiguous.
        similarity: as returned by `similarity`.
        prototypes: as returned by `similarity`.
        statistics: as returned by `similarity`.

    Returns:
        Gradients of u and q.
    """
    batch, tokens, channels = u.shape
    grid, numbers, constants = _plan(batch, tokens, channels, prototypes.shape[2])
    of_u, of_q = torch.empty_like(u), torch.empty_like(q)
    of_prototypes = torch.empty_like(prototypes)
    means = gradient.new_empty((batch, grid[1], channels))
    inputs = gradient, u, q, similarity, prototypes, statistics
    outputs = of_q, of_prototypes, means
    launch(_gradients_of_queries, grid, *inputs, *outputs, *numbers, **constants)
    constants['PARTS'] = power_of_2(grid[1])
    launch(
        _gradients_of_tokens, grid, u, statistics, of_prototypes, means, of_u, *numbers, **constants
    )
    return of_u, of_q
