"""Which corruptions at which severities a corrupted dataset gets."""

from collections.abc import Sequence

from fan_mm.corruptions import BENCHMARKS, CORRUPTIONS, GROUPS, check_name, check_severity
from fan_mm.errors import InputError


def choose_cells(
    benchmark: str,
    corruptions: Sequence[str] | None = None,
    severities: Sequence[int] | None = None,
) -> dict[str, tuple[int, ...]]:
    """Severities per corruption, in canonical order.

    Args:
        benchmark: name of the benchmark whose cells are taken if no corruptions are given.
        corruptions: names or groups, each at every severity.
        severities: keep only these.

    Raises:
        InputError: an unknown benchmark, corruption or severity, or nothing left.
    """
    if corruptions is None:
        if benchmark not in BENCHMARKS:
            raise InputError(
                f'unknown benchmark {benchmark!r}: choose one of {", ".join(BENCHMARKS)}'
            )
        cells = BENCHMARKS[benchmark].severities
    else:
        chosen = {n for name in corruptions for n in GROUPS.get(name) or [check_name(name)]}
        cells = {name: (1, 2, 3, 4, 5) for name in CORRUPTIONS if name in chosen}
    if severities is not None:
        kept = {check_severity(severity) for severity in severities}
        cells = {name: tuple(s for s in there if s in kept) for name, there in cells.items()}
    cells = {name: there for name, there in cells.items() if there}
    if not cells:
        raise InputError('no corruption left at these severities')
    return cells
