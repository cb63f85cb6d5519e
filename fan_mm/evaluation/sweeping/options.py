"""Checks of the options of a sweep that need neither model nor data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fan_mm.corruptions import BENCHMARK_ORDERS, check_channel_order, find_benchmark
from fan_mm.errors import InputError
from fan_mm.evaluation.audit.colours import FEWEST, ONE_PROVES_NOTHING
from fan_mm.evaluation.loading.image_cache import OFF, check_image_cache
from fan_mm.evaluation.scope import choose_scope

ON_ERROR = ('retry', 'skip', 'stop')


def check_options(
    benchmark: str | None = None,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] | None = None,
    corrupted_root: str | None = None,
    channel_order: str | None = None,
    max_samples: int | None = None,
    on_error: str = 'retry',
    image_cache: str | Path = OFF,
    audit_colours: int = 0,
    **_: Any,
) -> None:
    """Find the mistakes in the options of a `RobustnessSweep` that show without model and data.

    Raises:
        InputError: one of the options is wrong.
    """
    if on_error not in ON_ERROR:
        raise InputError(f'on_error must be one of {", ".join(ON_ERROR)}, not {on_error!r}')
    whole = find_benchmark(benchmark or 'all')
    if channel_order is not None:
        check_channel_order(channel_order, BENCHMARK_ORDERS)
    if whole.resized and channel_order not in (None, whole.channel_order):
        raise InputError(
            f'{whole.name} defines the channel order {whole.channel_order}: leave the option out'
        )
    if whole.resized and corrupted_root is not None:
        raise InputError(
            f'{whole.name} corrupts images after the resize, at the input size of the model: a folder of '
            'corrupted images cannot be used'
        )
    if max_samples is not None and max_samples < 1:
        raise InputError(f'max_samples must be at least 1, not {max_samples}')
    if 0 < audit_colours < FEWEST:
        raise InputError(f'--audit-colours {audit_colours}: {ONE_PROVES_NOTHING}')
    choose_scope(whole, corruptions, severities)
    if corrupted_root is not None and not Path(corrupted_root).is_dir():
        raise InputError(f'--corrupted-root {corrupted_root} is not a folder')
    check_image_cache(image_cache)
