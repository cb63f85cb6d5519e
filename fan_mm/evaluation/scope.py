"""What a sweep covers: a named benchmark, or the part of it that the user asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from fan_mm.corruptions import (
    BENCHMARKS,
    CORRUPTIONS,
    GROUPS,
    Benchmark,
    check_name,
    check_severity,
)
from fan_mm.errors import InputError
from fan_mm.evaluation.cells import CLEAN, Cell

# Dataset class -> benchmark that is meant if none is named.
_BENCHMARK_OF = {
    'CityscapesDataset': 'cityscapes-c',
    'CocoDataset': 'coco-c',
    'ImageNet': 'imagenet-c',
}


def default_benchmark(dataset: Any) -> str:
    """Name of the benchmark made for a dataset (or the one in its wrappers); 'all' for others."""
    while True:
        for base in type(dataset).__mro__:
            if base.__name__ in _BENCHMARK_OF:
                return _BENCHMARK_OF[base.__name__]
        if hasattr(dataset, 'datasets'):
            dataset = dataset.datasets[0]
        elif hasattr(dataset, 'dataset'):
            dataset = dataset.dataset
        else:
            return 'all'


def find_benchmark(name: str) -> Benchmark:
    """A benchmark by name.

    Raises:
        InputError: there is none of that name.
    """
    if name not in BENCHMARKS:
        raise InputError(f'unknown benchmark {name!r}: choose one of {", ".join(BENCHMARKS)}')
    return BENCHMARKS[name]


@dataclass(frozen=True)
class Scope:
    """What a sweep evaluates.

    Attributes:
        benchmark: the benchmark, or the part of it that the means cover. A part is not the
            benchmark: it is called ``<name>-subset``, so that its mean is not taken for the whole's.
        hold_outs: further corruptions and their severities, evaluated but part of no mean.
    """

    benchmark: Benchmark
    hold_outs: dict[str, tuple[int, ...]]

    @property
    def severities(self) -> dict[str, tuple[int, ...]]:
        """Severities of every corruption that is evaluated."""
        return {**self.benchmark.severities, **self.hold_outs}

    @property
    def cells(self) -> list[Cell]:
        """All cells: clean first, the benchmark's, then the hold-outs'."""
        return [CLEAN, *(Cell(name, s) for name, levels in self.severities.items() for s in levels)]


def choose_scope(
    benchmark: Benchmark,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] | None = None,
) -> Scope:
    """The part of a benchmark that was asked for.

    Args:
        benchmark: the whole.
        corruptions: names, or groups for their members in the benchmark. A corruption that the
            benchmark's mean does not cover becomes a hold-out. None for all of the mean and no
            hold-outs.
        severities: 1 to 5, intersected with the benchmark's own (Cityscapes-C has noise at 1 to 3
            only). None for all.

    Raises:
        InputError: unknown names, or nothing remains.
    """
    names = _names(benchmark, corruptions)
    allowed = tuple(sorted({check_severity(s) for s in severities or range(1, 6)}))
    covered = {
        name: kept
        for name, levels in benchmark.severities.items()
        if name in names and (kept := tuple(s for s in levels if s in allowed))
    }
    hold_outs = {name: allowed for name in names if name not in benchmark.severities}
    if not covered and not hold_outs:
        raise InputError(
            f'{benchmark.name} has none of the chosen corruptions at severities '
            f'{", ".join(map(str, allowed))}'
        )
    if covered == benchmark.severities:
        return Scope(benchmark, hold_outs)
    groups = {
        group: kept
        for group, members in benchmark.groups.items()
        if (kept := tuple(name for name in members if name in covered))
    }
    part = replace(
        benchmark,
        name=f'{benchmark.name}-subset',
        severities=covered,
        groups=groups,
        source=f'part of {benchmark.name}: {benchmark.source}',
    )
    return Scope(part, hold_outs)


def _names(benchmark: Benchmark, corruptions: Sequence[str] | None) -> tuple[str, ...]:
    """Corruptions by name or group, in canonical order."""
    if corruptions is None:
        return tuple(benchmark.severities)
    names = set()
    for name in corruptions:
        if name in GROUPS:
            names.update(benchmark.groups.get(name, ()))
        else:
            names.add(check_name(name))
    return tuple(name for name in CORRUPTIONS if name in names)
