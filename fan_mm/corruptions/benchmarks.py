"""The named corruption benchmarks: which corruptions at which severities make the headline mean."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fan_mm.corruptions.names import (
    CORRUPTIONS,
    GROUPS,
    HOLD_OUTS,
    SEVERITIES,
    check_name,
    check_severity,
)
from fan_mm.errors import InputError


@dataclass(frozen=True)
class Benchmark:
    """One benchmark protocol.

    Attributes:
        name: key in `BENCHMARKS`.
        severities: corruption -> severities, for all corruptions in the headline mean, in canonical order.
        hold_outs: corruptions that are evaluated only on request and never part of the mean.
        groups: the groups in the benchmark's tables, of the corruptions in ``severities``.
        source: where the protocol is defined.
        channel_order: key in `BENCHMARK_ORDERS` with which the benchmark's numbers were obtained.
        resized: corrupt images at the model's input size, after the test pipeline's resize, rather
            than at their size on disk.
    """

    name: str
    severities: dict[str, tuple[int, ...]]
    hold_outs: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    source: str
    channel_order: str = 'rgb'
    resized: bool = False


def _grouped(corruptions: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """`GROUPS` restricted to some corruptions."""
    return {
        group: tuple(name for name in names if name in corruptions)
        for group, names in GROUPS.items()
    }


_STANDARD = tuple(name for name in CORRUPTIONS if name not in HOLD_OUTS)
# Kamann and Rother count brightness as digital, unlike Hendrycks and Dietterich.
_KAMANN_ROTHER = {
    'blur': ('motion_blur', 'defocus_blur', 'glass_blur', 'gaussian_blur'),
    'noise': ('gaussian_noise', 'impulse_noise', 'shot_noise', 'speckle_noise'),
    'digital': ('brightness', 'contrast', 'saturate', 'jpeg_compression'),
    'weather': ('snow', 'spatter', 'fog', 'frost'),
}
_SIXTEEN = tuple(name for name in CORRUPTIONS if name in sum(_KAMANN_ROTHER.values(), ()))

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            name='imagenet-c',
            severities=dict.fromkeys(_STANDARD, SEVERITIES),
            hold_outs=HOLD_OUTS,
            groups=_grouped(_STANDARD),
            source='Hendrycks and Dietterich, ICLR 2019',
        ),
        Benchmark(
            name='cityscapes-c',
            severities={
                name: (1, 2, 3) if name in GROUPS['noise'] else SEVERITIES for name in _SIXTEEN
            },
            hold_outs=(),
            groups=_KAMANN_ROTHER,
            source='Kamann and Rother, CVPR 2020: noise at severities 1 to 3, the rest at 1 to 5',
        ),
        Benchmark(
            name='coco-c',
            severities=dict.fromkeys(_SIXTEEN, SEVERITIES),
            hold_outs=(),
            groups=_KAMANN_ROTHER,
            source='FAN (Zhou et al., ICML 2022), Table 14; after Michaelis et al., 2019',
        ),
        Benchmark(
            name='fan-official',
            severities=dict.fromkeys(CORRUPTIONS, (1, 2, 3)),
            hold_outs=(),
            groups=GROUPS,
            source='the released Cityscapes-C loop of FAN: all 19 at severities 1 to 3',
        ),
        Benchmark(
            name='all',
            severities=dict.fromkeys(CORRUPTIONS, SEVERITIES),
            hold_outs=(),
            groups=GROUPS,
            source='all 19 corruptions of imagecorruptions 1.1.2 at all five severities',
        ),
        Benchmark(
            name='semsegbench',
            severities=dict.fromkeys(_STANDARD, (3,)),
            hold_outs=(),
            groups=_grouped(_STANDARD),
            source='SemSegBench (arXiv 2505.18015): severity 3, after the resize, BGR taken as RGB',
            channel_order='bgr-as-rgb',
            resized=True,
        ),
    )
}


def find_benchmark(name: str) -> Benchmark:
    """A benchmark by name.

    Raises:
        InputError: there is no benchmark of that name.
    """
    if name not in BENCHMARKS:
        raise InputError(f'unknown benchmark {name!r}: choose one of {", ".join(BENCHMARKS)}')
    return BENCHMARKS[name]


def choose_cells(
    benchmark: Benchmark,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] | None = None,
) -> dict[str, tuple[int, ...]]:
    """The requested cells, for generating images and for evaluating on them.

    Args:
        benchmark: the whole benchmark.
        corruptions: names of corruptions or groups; a group stands for its members in the benchmark.
            None for all corruptions in the mean.
        severities: 1 to 5, intersected with the benchmark's own (Cityscapes-C has noise at 1 to 3
            only; corruptions outside the mean have all five). None for all.

    Returns:
        Severities per corruption, in canonical order.

    Raises:
        InputError: unknown names or severities, or nothing remains.
    """
    names = set(benchmark.severities if corruptions is None else ())
    for name in corruptions or ():
        if name in GROUPS:
            names.update(benchmark.groups.get(name, ()))
        else:
            names.add(check_name(name))
    allowed = sorted(
        {check_severity(s) for s in (SEVERITIES if severities is None else severities)}
    )
    cells = {
        name: kept
        for name in CORRUPTIONS
        if name in names
        and (kept := tuple(s for s in benchmark.severities.get(name, SEVERITIES) if s in allowed))
    }
    if not cells:
        raise InputError(
            f'{benchmark.name} has none of the selected corruptions at severities '
            f'{", ".join(map(str, allowed))}'
        )
    return cells
