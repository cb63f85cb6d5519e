"""The named corruption benchmarks: which corruptions at which severities make the headline mean."""

from dataclasses import dataclass

from fan_mm.corruptions.names import CORRUPTIONS, GROUPS, HOLD_OUTS, SEVERITIES


@dataclass(frozen=True)
class Benchmark:
    """One benchmark protocol.

    Attributes:
        name: key in `BENCHMARKS`.
        severities: for every corruption of the headline mean, in canonical order, its severities.
        hold_outs: corruptions evaluated on request and never part of the mean.
        groups: the grouping that the benchmark's tables use, over ``severities`` only.
        source: where the protocol is defined.
    """

    name: str
    severities: dict[str, tuple[int, ...]]
    hold_outs: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]
    source: str


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
    )
}
