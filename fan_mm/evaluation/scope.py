"""What a sweep covers: a named benchmark, or the part of it that the user asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fan_mm.corruptions import Benchmark, choose_cells
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.class_names import are_imagenet

# Dataset class -> default benchmark.
_BENCHMARK_OF = {
    'CityscapesDataset': 'cityscapes-c',
    'CocoDataset': 'coco-c',
    'ImageNet': 'imagenet-c',
}


def default_benchmark(dataset: Any) -> str:
    """Name of the benchmark made for a dataset (or the one in its wrappers); 'all' for others.

    Image folders with the names of ImageNet's classes are treated as ImageNet.
    """
    while True:
        for base in type(dataset).__mro__:
            if base.__name__ in _BENCHMARK_OF:
                return _BENCHMARK_OF[base.__name__]
        if hasattr(dataset, 'datasets'):
            dataset = dataset.datasets[0]
        elif hasattr(dataset, 'dataset'):
            dataset = dataset.dataset
        else:
            meta = getattr(dataset, 'metainfo', None)
            classes = meta.get('classes') if isinstance(meta, Mapping) else None
            return 'imagenet-c' if are_imagenet(classes or ()) else 'all'


@dataclass(frozen=True)
class Scope:
    """What a sweep evaluates.

    Attributes:
        benchmark: the benchmark, or the part of it that the means cover. A part is named
            ``<name>-subset``, so that its mean is not mistaken for that of the benchmark.
        hold_outs: further corruptions and their severities, evaluated but not part of any mean.
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
        benchmark: the whole benchmark.
        corruptions: see `choose_cells`. Corruptions outside the benchmark's mean become hold-outs. An
            empty list leaves only the clean cell.
        severities: see `choose_cells`.

    Raises:
        InputError: unknown names, or nothing remains.
    """
    none = corruptions is not None and not corruptions
    cells = {} if none else choose_cells(benchmark, corruptions, severities)
    covered = {name: levels for name, levels in cells.items() if name in benchmark.severities}
    hold_outs = {name: levels for name, levels in cells.items() if name not in covered}
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
