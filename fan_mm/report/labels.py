"""Words and numbers as papers print them: one decimal, units, an arrow for the better direction."""

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

DASH = '\N{EN DASH}'
MINUS = '\N{MINUS SIGN}'
UNLIKE = '†'  # beside a mean over other cells than those it stands with
_CORRUPTIONS = {'jpeg_compression': 'JPEG', 'elastic_transform': 'Elastic'}
_METRICS = {
    f'{key}_{score}': f'{word} {label}'
    for key, word in (('bbox', 'box'), ('segm', 'mask'))
    for score, label in (
        ('mAP', 'mAP'),
        ('mAP_50', 'AP50'),
        ('mAP_75', 'AP75'),
        ('mAP_s', 'AP small'),
        ('mAP_m', 'AP medium'),
        ('mAP_l', 'AP large'),
    )
} | {
    'top1': 'top-1 accuracy',
    'top5': 'top-5 accuracy',
    'relative_mCE': 'relative mCE',
}
_BENCHMARKS = {
    'cityscapes-c': 'Cityscapes-C',
    'coco-c': 'COCO-C',
    'imagenet-c': 'ImageNet-C',
    'semsegbench': 'SemSegBench',
}
_TASKS = {
    'segmentation': 'semantic segmentation',
    'detection': 'object detection',
    'classification': 'image classification',
}


def wrapped(name: str, width: int) -> str:
    """A model's name in lines of so many letters at most, broken behind spaces, hyphens and the like."""
    parts = re.split(r'(?<=[-_ ./])', name)
    parts = [part[i : i + width] for part in parts for i in range(0, len(part), width)]
    lines = ['']
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append('')
        lines[-1] += part
    return '\n'.join(line.rstrip() for line in lines)


def corruption_label(name: str) -> str:
    """'gaussian_noise' -> 'Gaussian noise'."""
    return _CORRUPTIONS.get(name, name.replace('_', ' ').capitalize())


def corruption_in_sentence(name: str) -> str:
    """'motion_blur' -> 'motion blur', 'gaussian_noise' -> 'Gaussian noise', 'jpeg_compression' -> 'JPEG'."""
    label = corruption_label(name)
    return label if label.startswith(('Gaussian', 'JPEG')) else label.lower()


def metric_label(name: str) -> str:
    """'bbox_mAP' -> 'box mAP'; an unknown name stays as it is."""
    return _METRICS.get(name, name)


def benchmark_label(name: str) -> str:
    """'cityscapes-c' -> 'Cityscapes-C', 'coco-c-subset' -> 'COCO-C (part)'."""
    whole = name.removesuffix('-subset')
    return _BENCHMARKS.get(whole, whole) + ('' if whole == name else ' (part)')


def scope_label(benchmark: dict) -> str:
    """What results cover: the benchmark, or of 'all', which is none, '19 corruptions, severity 3'."""
    if benchmark['name'].removesuffix('-subset') != 'all':
        return benchmark_label(benchmark['name'])
    levels = sorted({s for levels in benchmark['severities'].values() for s in levels})
    count = len(benchmark['severities'])
    return (
        f'{count} corruption{"s" * (count > 1)}, '
        f'{"severity" if len(levels) == 1 else "severities"} {", ".join(map(str, levels))}'
    )


def named_scope(benchmark: dict) -> str:
    """The same with the name of 'all', as every table and figure has it: '... severity 3 (all-subset)'."""
    label, name = scope_label(benchmark), benchmark['name']
    return label if label == benchmark_label(name) else f'{label} ({name})'


def task_label(name: str) -> str:
    """'segmentation' -> 'semantic segmentation'."""
    return _TASKS.get(name, name)


def arrow(higher_is_better: bool) -> str:
    """The mark that papers put beside a metric's name."""
    return '↑' if higher_is_better else '↓'


def number(value: float | None, digits: int = 1) -> str:
    """One decimal or more, a true minus; a dash where there is no value (None or NaN)."""
    if value is None or math.isnan(value):
        return DASH
    # float: NumPy's own rounding differs in the last digit. + 0.0: no minus before a zero.
    return f'{round(float(value), digits) + 0.0:.{digits}f}'.replace('-', MINUS)


def share(value: float, digits: int = 0) -> str:
    """0.123 -> '12%'; '>99%' and '<1%' for what would be rounded to all or nothing, and is not."""
    text, least = f'{value:.{digits}%}', 10.0 ** -(digits + 2)
    if value < 1 and float(text[:-1]) == 100:
        return f'>{1 - least:.{digits}%}'
    return f'<{least:.{digits}%}' if value > 0 and float(text[:-1]) == 0 else text


def signed(value: float | None, digits: int = 1) -> str:
    """One decimal or more, with its sign, none for zero; a dash where there is no value (None or NaN)."""
    text = number(value, digits)
    return f'+{text}' if text[0].isdigit() and float(text) else text


def interval(bounds: tuple[float, float] | None, digits: int = 1) -> str:
    """'[57.1, 59.3]', or nothing."""
    return '' if bounds is None else f'[{", ".join(number(b, digits) for b in bounds)}]'


def with_interval(text: str, bounds: tuple[float, float] | None, digits: int = 1) -> str:
    """A number's text and its interval, if there is one: '58.2 [57.1, 59.3]'."""
    return f'{text} {interval(bounds, digits)}'.rstrip()


def in_brackets(level: float | None) -> str:
    """The sentence of a caption on intervals of a level, ' ' before it; nothing without."""
    return f' In brackets {100 * level:.0f} % bootstrap intervals.' if level else ''


def cells_label(cells: list[tuple[str, int]]) -> str:
    """'Snow 3, 4; Fog 1' for (corruption, severity) pairs in their order; 'Clean' for severity 0."""
    by_name: dict[str, list[str]] = {}
    for name, severity in cells:
        by_name.setdefault(name, []).append(str(severity) if severity else '')
    return '; '.join(
        f'{corruption_label(name)} {", ".join(severities)}'.strip()
        for name, severities in by_name.items()
    )


def unique_names(results: Sequence[dict], paths: Sequence[str | os.PathLike]) -> list[str]:
    """Model names; where some are equal, with the part of their folders that differs, or else with a number."""
    names = [r['model']['name'] for r in results]
    folders = [(p if p.is_dir() else p.parent).resolve() for p in map(Path, paths)]
    for name in {name for name in names if names.count(name) > 1}:
        alike = [i for i, other in enumerate(names) if other == name]
        for i, end in zip(alike, _differing_ends([folders[i].parts for i in alike]), strict=True):
            names[i] = f'{name} ({end})'
    # one may be another's own name
    return [f'{n} ({i})' if names.count(n) > 1 else n for i, n in enumerate(names, 1)]


def _differing_ends(parts: list[tuple[str, ...]]) -> list[str]:
    """The shortest ends of paths that tell them apart, without what all end in; numbers for equal paths."""
    while all(parts) and len({p[-1] for p in parts}) == 1:
        parts = [p[:-1] for p in parts]  # work_dirs/seed_0/robustness, work_dirs/seed_1/robustness
    for length in range(1, max(map(len, parts)) + 1):
        ends = ['/'.join(p[-length:]) for p in parts]
        if len(set(ends)) == len(ends):
            return ends
    return [str(number) for number in range(1, len(parts) + 1)]
