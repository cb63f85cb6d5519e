"""What real conditions say of each other: one that stands for another, equal ones, one score for most."""

from collections.abc import Callable, Hashable, Iterator, Mapping

from fan_mm.evaluation.audit.cell_checks import repeated_score, rich_scores
from fan_mm.evaluation.audit.finding import Finding, some
from fan_mm.evaluation.cells import CellRecord

Records = Mapping[str, CellRecord]  # of the conditions with a result, by their names


def same_pictures(records: Records, clean: str) -> Iterator[Finding]:
    """Conditions in which the model got the same pictures, in whatever order and under whatever names."""
    for names in _groups(records, lambda r: r.evidence.get('contents')):
        others = [name for name in names if name != clean]
        of_clean = len(others) < len(names)
        yield Finding(
            'same pictures',
            tuple(names),
            f'in {some(others)} the model gets the {"clean pictures" if of_clean else "same pictures"}',
            'one folder was copied, linked or given in the place of the other',
            'Look at their folders; at most one of these is what its name says, and pooled counts the pictures '
            'more than once.',
        )


def same_scores(records: Records, clean: str) -> Iterator[Finding]:
    """Conditions that are equal to the last digit though their pictures differ."""
    reported: set[str] = set()
    for key in (lambda r: r.evidence.get('scores'), rich_scores):
        for names in _groups(records, key):
            contents = {records[name].evidence.get('contents') for name in names}
            if (len(contents) == 1 and None not in contents) or reported & set(names):
                continue  # `same_pictures` tells of them
            reported |= set(names)
            yield Finding(
                'same scores',
                tuple(names),
                f'{some(names)} are equal to the last digit',
                'the model does not look at the picture, or one folder stands for several',
                'Look at predictions of both (--save-images), and evaluate one of them alone.',
            )


def one_score(records: Records, clean: str) -> Iterator[Finding]:
    """One value that stands for most of the conditions of a segmenter."""
    told = {
        name
        for check in (same_pictures, same_scores)
        for f in check(records, clean)
        for name in f.cells
    }
    scores = {
        name: record.metrics.get('mIoU')
        for name, record in records.items()
        if name != clean and name not in told and 'IoU' in record.per_class
    }
    if repeated := repeated_score(scores):
        value, names = repeated
        yield Finding(
            'one score',
            tuple(names),
            f'{len(names)} of {len(scores)} conditions have the same mIoU, {value}',
            'the predictions are one class everywhere',
            'Look at predictions (--save-images) before the numbers are used.',
        )


def _groups(records: Records, key: Callable[[CellRecord], Hashable]) -> list[list[str]]:
    """Names of two or more records with the same key; those without one are left out."""
    groups: dict[Hashable, list[str]] = {}
    for name, record in records.items():
        if (value := key(record)) is not None:
            groups.setdefault(value, []).append(name)
    return [names for names in groups.values() if len(names) > 1]
