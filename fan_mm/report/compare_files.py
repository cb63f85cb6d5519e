"""Any results side by side: of sweeps, of real adverse conditions, or both of the same checkpoints."""

import os
from collections.abc import Sequence
from pathlib import Path

from fan_mm.evaluation.results import SHIFTS, read_results
from fan_mm.report.comparison_files import write_comparison
from fan_mm.report.shift_comparison_files import write_shift_comparison


def compare_files(
    paths: Sequence[str | os.PathLike], out_dir: str | os.PathLike, published: bool = False
) -> Path:
    """Compare results and write the comparison.

    Args:
        paths: results.json files or their folders. With some on real adverse conditions these are
            compared, and sweeps of the same checkpoints stand beside them.
        out_dir: folder for the files.
        published: add what others print of the same protocol.

    Returns:
        Path of ``comparison.html``.

    Raises:
        InputError: as `write_comparison` and `write_shift_comparison`.
    """
    kinds = [read_results(path)['kind'] for path in paths]
    real = [path for path, kind in zip(paths, kinds, strict=True) if kind == SHIFTS]
    if not real:
        return write_comparison(paths, out_dir, published)
    sweeps = [path for path, kind in zip(paths, kinds, strict=True) if kind != SHIFTS]
    return write_shift_comparison(real, out_dir, published, sweeps)
