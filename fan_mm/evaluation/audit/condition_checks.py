"""Checks that compare real conditions: the same images, equal scores, one score for most."""

from collections.abc import Iterator

from fan_mm.evaluation.audit.equality import (
    Records,
    equal_ones,
    repeated_score,
    same_evidence,
    same_to_the_last_digit,
)
from fan_mm.evaluation.audit.finding import Finding, some


def same_pictures(records: Records, clean: str) -> Iterator[Finding]:
    """Conditions in which the model got the same images, in any order and under any names."""
    for names in same_evidence(records, 'contents'):
        others = [name for name in names if name != clean]
        of_clean = len(others) < len(names)
        yield Finding(
            'same pictures',
            names,
            f'in {some(others)} the model gets the {"clean images" if of_clean else "same images"}',
            'one folder was copied, linked or given instead of the other',
            'Check their folders; at most one of these is what its name says, and the pooled score counts the '
            'images more than once.',
        )


def same_scores(records: Records, clean: str) -> Iterator[Finding]:
    """Conditions that are equal to the last digit though their images differ."""
    for names in same_to_the_last_digit(records, 'contents'):
        yield Finding(
            'same scores',
            names,
            f'{some(names)} are equal to the last digit',
            'the model ignores the image, or one folder is used for several conditions',
            'Look at predictions of both (--save-images), and evaluate one of them alone.',
        )


def one_score(records: Records, clean: str) -> Iterator[Finding]:
    """One value that most of the conditions of a segmenter have."""
    equal = equal_ones(records, 'contents')
    scores = {
        name: record.metrics.get('mIoU')
        for name, record in records.items()
        if name != clean and name not in equal and 'IoU' in record.per_class
    }
    if repeated := repeated_score(scores):
        value, names = repeated
        yield Finding(
            'one score',
            tuple(names),
            f'{len(names)} of {len(scores)} conditions have the same mIoU, {value}',
            'the predictions are one class everywhere',
            'Look at predictions (--save-images) before using the numbers.',
        )
