"""Which cells of a sweep, or which real conditions, are equal: in their images, all scores, or one.

Records are passed, and reported, by name.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping

from fan_mm.evaluation.cells import CellRecord

_RICH = 10  # from this many values on, equal cells are not a coincidence

Records = Mapping[str, CellRecord]  # those with a result


def same_evidence(records: Records, kind: str) -> list[tuple[str, ...]]:
    """Names of two or more records with the same evidence; records without it are left out.

    Args:
        records: name -> record.
        kind: key of `CellRecord.evidence`.
    """
    return _groups(records, lambda record: record.evidence.get(kind))


def same_to_the_last_digit(records: Records, pictures: str) -> Iterator[tuple[str, ...]]:
    """Names of records whose scores are equal though their images differ, each name once.

    Args:
        records: name -> record.
        pictures: the evidence that distinguishes images.
    """
    reported: set[str] = set()
    for names in (*same_evidence(records, 'scores'), *_groups(records, _rich_scores)):
        seen = {records[name].evidence.get(pictures) for name in names}
        if (len(seen) > 1 or None in seen) and not reported & set(names):
            reported |= set(names)
            yield names


def equal_ones(records: Records, pictures: str) -> set[str]:
    """Names of the records that equal another one, in their images or in all scores."""
    groups = (
        *same_evidence(records, pictures),
        *same_evidence(records, 'scores'),
        *_groups(records, _rich_scores),
    )
    return {name for names in groups for name in names}


def repeated_score(scores: Mapping[str, float | None]) -> tuple[float, list[str]] | None:
    """A score that more than half of the cells have, and which; None if there is none.

    Many cells of a healthy sweep may score 0 (nothing found) or 100 (everything right).

    Args:
        scores: scores of cells, conditions or corruptions; at least four.
    """
    known = [v for v in scores.values() if v is not None and 0 < v < 100]
    if len(scores) < 4 or not known:
        return None
    value, count = Counter(known).most_common(1)[0]
    if 2 * count <= len(scores):
        return None
    return value, [name for name, v in scores.items() if v == value]


def _rich_scores(record: CellRecord) -> Hashable:
    """All values of a segmentation, if they are many; None otherwise.

    Shares of millions of pixels are not equal by chance; scores of few objects or images may be.
    """
    if 'IoU' not in record.per_class:
        return None
    values = [record.metrics, *record.per_class.values()]
    flat = [v for part in values for v in part.values() if v is not None and 0 < v < 100]
    return tuple(flat) if len(set(flat)) >= _RICH else None


def _groups(records: Records, key: Callable[[CellRecord], Hashable]) -> list[tuple[str, ...]]:
    groups: dict[Hashable, list[str]] = {}
    for name, record in records.items():
        if (value := key(record)) is not None:
            groups.setdefault(value, []).append(name)
    return [tuple(names) for names in groups.values() if len(names) > 1]
