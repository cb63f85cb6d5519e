"""Time, arithmetic and traffic of each operation of a model, beside the best that the machine does."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from rich.table import Table
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

COUNT = 10  # operations in a table


@dataclass
class Cost:
    """Total cost of all calls of an operation with the same input shapes."""

    seconds: float = math.inf
    calls: int = 0
    flops: int = 0
    bytes: int = 0

    def __add__(self, other: 'Cost') -> 'Cost':
        return Cost(
            self.seconds + other.seconds,
            self.calls + other.calls,
            self.flops + other.flops,
            self.bytes + other.bytes,
        )


class Operations(TorchDispatchMode):
    """Times the operations that run within it, on a CPU.

    Bytes are the sum over all inputs and outputs, a lower bound of the memory traffic.
    """

    def __init__(self) -> None:
        super().__init__()
        self.costs: dict[tuple[str, str], Cost] = {}

    def __torch_dispatch__(
        self, func: Callable, types: Iterable, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        """Run an operation, and note it."""
        kwargs = kwargs or {}
        start = time.perf_counter()
        out = func(*args, **kwargs)
        seconds = time.perf_counter() - start
        if func.is_view:
            return out
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        tensors = inputs + [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        shapes = ' '.join('x'.join(map(str, x.shape)) for x in inputs[:3])
        key = func._overloadpacket.__name__, shapes
        cost = Cost(seconds, 1, _flops(func, args, kwargs, out), sum(x.nbytes for x in tensors))
        self.costs[key] = self.costs.get(key, Cost(0.0)) + cost
        return out


def _flops(func: Callable, args: tuple, kwargs: dict, out: object) -> int:
    """Floating-point operations of products, which are all but a few of a model's."""
    name = func._overloadpacket.__name__
    shapes = [x.shape for x in args if isinstance(x, Tensor)]
    if name == 'convolution_backward':  # PyTorch's own count ignores groups
        gradient, _, weight = shapes[:3]
        wanted = sum(args[-1][:2])  # of the input's and the weight's gradients
        return 2 * gradient.numel() * weight[1:].numel() * wanted
    if name == '_scaled_dot_product_flash_attention_for_cpu':
        return sdpa_flop_count(*shapes[:3])
    if name == '_scaled_dot_product_flash_attention_for_cpu_backward':
        return sdpa_backward_flop_count(*shapes[:4])
    count = flop_registry.get(func._overloadpacket)
    return count(*args, **kwargs, out_val=out) if count else 0


def flops_of(work: Callable[[], object]) -> int:
    """Floating-point operations of a call."""
    with Operations() as mode:
        work()
    return sum(cost.flops for cost in mode.costs.values())


def costs_of(work: Callable[[], object], rounds: int) -> dict[tuple[str, str], Cost]:
    """Of each operation the costs in the round where it took the least time."""
    best: dict[tuple[str, str], Cost] = {}
    for _ in range(rounds):
        with Operations() as mode:
            work()
        for key, cost in mode.costs.items():
            if cost.seconds < best.get(key, Cost()).seconds:
                best[key] = cost
    return best


def best_product(dtype: torch.dtype, seconds: float = 1.0) -> tuple[float, str]:
    """FLOP/s of the machine's best product, and which one: of matrices, or a 1x1 convolution."""
    products = {}
    for rows, inner, columns in ((4096, 384, 1536), (4096, 1024, 1024), (2048, 2048, 2048)):
        x, weight = torch.randn(rows, inner, dtype=dtype), torch.randn(columns, inner, dtype=dtype)
        as_map = x[None, :, None].permute(0, 3, 1, 2)
        shape = f'{rows}x{inner}x{columns}'
        flops = 2 * rows * inner * columns
        products[f'matrices of {shape}'] = flops, lambda x=x, w=weight: F.linear(x, w)
        products[f'1x1 convolution of {shape}'] = (
            flops,
            lambda x=as_map, w=weight[:, :, None, None]: F.conv2d(x, w),
        )
    found = {}
    with torch.no_grad():
        for name, (flops, work) in products.items():
            found[name] = flops / least(work, seconds / len(products))
    name = max(found, key=found.__getitem__)
    return found[name], name


def best_copy() -> float:
    """Bytes per second, read and written, of a copy between tensors that no cache holds."""
    source = torch.randn(2**26)
    target = torch.empty_like(source)
    return 2 * source.nbytes / least(lambda: target.copy_(source), 0.5)


def least(work: Callable[[], object], seconds: float) -> float:
    """Least seconds of a call among those of some time, after a first one."""
    work()
    best, end = math.inf, time.perf_counter() + seconds
    while best == math.inf or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def roofline(title: str, work: Callable[[], object], rounds: int, ceilings: str) -> Table:
    """The costliest operations of a call, and the call as a whole.

    Args:
        title: title of the table.
        work: function to measure, on a CPU; must have run before.
        rounds: number of rounds, of which the minimum times are used.
        ceilings: description of the machine's peak performance.
    """
    whole = min(_elapsed(work) for _ in range(rounds))
    costs = costs_of(work, rounds)
    total = sum(costs.values(), Cost(0.0))
    table = Table(title=title, caption=ceilings)
    table.add_column('operation')
    table.add_column('inputs')
    for column in ('calls', 'ms', 'share', 'GFLOP/s', 'GB/s'):
        table.add_column(column, justify='right')
    for (name, shapes), cost in sorted(costs.items(), key=lambda item: -item[1].seconds)[:COUNT]:
        table.add_row(name, shapes, *_cells(cost, cost.seconds, total.seconds))
    table.add_section()
    table.add_row('all, timed one by one', '', *_cells(total, total.seconds, total.seconds))
    table.add_row('as a whole', '', *_cells(total, whole, total.seconds))
    return table


def _elapsed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _cells(cost: Cost, seconds: float, total: float) -> tuple[str, ...]:
    rate = f'{cost.flops / seconds / 1e9:.0f}' if cost.flops else ''
    traffic = f'{cost.bytes / seconds / 1e9:.1f}'
    return str(cost.calls), f'{1e3 * seconds:.1f}', f'{seconds / total:.0%}', rate, traffic
