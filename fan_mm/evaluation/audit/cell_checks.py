"""Checks that compare cells: equal ones, severities in the wrong order, odd times."""

import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterator

from fan_mm.engine.first_batch.outputs import NOT_FINITE
from fan_mm.evaluation.audit.equality import (
    equal_ones,
    repeated_score,
    same_evidence,
    same_to_the_last_digit,
)
from fan_mm.evaluation.audit.finding import Facts, Finding, names_of, some
from fan_mm.evaluation.bootstrap import PerImage
from fan_mm.evaluation.cells import CLEAN, CellRecord

_PICTURES = 1000  # from this many images on, equal accuracies are not a coincidence
_POINTS = 2.0  # by how much a higher severity must score better to be a finding
_SURE = 5  # standard errors of the paired difference, likewise
# Corruptions whose severities do not increase in strength: grey, then oversaturated; water, then mud;
# different kinds of distortion; more flakes, then larger ones; fog and frost with new random draws.
_UNORDERED = ('saturate',)
_ROUGH = ('spatter', 'elastic_transform', 'snow', 'frost', 'fog', 'glass_blur', 'pixelate')
_APART = 3  # even these corruptions must be in order at severities this far apart
_FACTOR = 5  # ratio at which a cell's time is odd
_STALLED = 60.0  # seconds


def same_pictures(facts: Facts) -> Iterator[Finding]:
    """Cells in which the model got the same images."""
    for names in same_evidence(facts.named, 'pictures'):
        copies = {facts.copies.get(name) for name in names}
        if len(copies) == 1 and None not in copies:
            continue  # reported by `same_copies`
        if str(CLEAN) in names:
            others = some(name for name in names if name != str(CLEAN))
            yield Finding(
                'same pictures',
                names,
                f'in {others} the model gets the clean images, unchanged',
                'the corruption is not applied: its transform is missing, or comes after the image '
                'has been packed',
                'Check the pipeline in the log, or save images (--save-images); these cells measure '
                'nothing.',
            )
        else:
            yield Finding(
                'same pictures',
                names,
                f'in {some(names)} the model gets the same images',
                'one folder or one severity is used for several',
                'Generate the corrupted images again; at most one of these cells is right.',
            )


def same_scores(facts: Facts) -> Iterator[Finding]:
    """Cells that are equal to the last digit though their images differ."""
    for names in same_to_the_last_digit(facts.named, 'pictures'):
        yield Finding(
            'same scores',
            names,
            f'{some(names)} are equal to the last digit',
            'predictions or counts of one cell are used for the others, or the model ignores '
            'the image',
            'Evaluate one of these cells alone (--corruptions, --severities) and compare.',
        )


def one_score(facts: Facts) -> Iterator[Finding]:
    """One value that most of the corrupted cells have; with few images or objects that may be right.

    Cells that are equal in everything are reported by other checks.
    """
    fewest = min((record.samples for record in facts.corrupted), default=0)
    if facts.task != 'segmentation' and fewest < _PICTURES:
        return
    equal = equal_ones(facts.named, 'pictures')
    scores = {str(r.cell): facts.score(r) for r in facts.corrupted if str(r.cell) not in equal}
    if repeated := repeated_score(scores):
        value, names = repeated
        yield Finding(
            'one score',
            tuple(names),
            f'{len(names)} of {len(scores)} corrupted cells have the same {facts.headline}, {value}',
            'the predictions are one class everywhere, because the sweep or the model is broken',
            'No model is affected equally by all corruptions: look at predictions (--save-images) '
            'before using the numbers.',
        )


def not_finite(facts: Facts) -> Iterator[Finding]:
    """Cells in which the model gave NaN or infinity, or no score exists."""
    failed = [r for r in facts.records if r.status == 'failed' and NOT_FINITE in (r.error or '')]
    if failed:
        names = names_of(failed)
        yield Finding(
            'values that are not finite',
            names,
            f'in {some(names)} the model outputs {NOT_FINITE}',
            'an overflow of float16, or weights that diverged',
            'Evaluate in float32 (without fp16 in test_cfg); if it persists, use an earlier checkpoint.',
        )
    clean = facts.clean
    if clean is None or facts.score(clean) is None:
        return
    undefined = [record for record in facts.corrupted if facts.score(record) is None]
    if undefined:
        names = names_of(undefined)
        yield Finding(
            'values that are not finite',
            names,
            f'{some(names)} have no {facts.headline}, though the clean cell has one',
            'predictions with NaN, for which the metric has no score',
            "Check the model's outputs for one of their images.",
        )


def severity_order(facts: Facts) -> Iterator[Finding]:
    """A higher severity with a better score, by many standard errors of the difference."""
    levels = defaultdict(list)
    for record in facts.corrupted:
        if facts.score(record) is not None:
            levels[record.corruption].append(record)
    for name, records in levels.items():
        if name in _UNORDERED:
            continue
        records.sort(key=lambda record: record.severity)
        pairs = [
            (low, high)
            for low, high in itertools.combinations(records, 2)
            if name not in _ROUGH or high.severity - low.severity >= _APART
        ]
        wrong = [pair for pair in pairs if _is_better(facts, *pair)]
        if not wrong:
            continue
        low, high = max(wrong, key=lambda pair: _rise(facts, *pair))
        yield Finding(
            'order of severities',
            names_of([low, high]),
            f'{high.cell} has {facts.score(high):.2f}, {low.cell} only {facts.score(low):.2f}, further '
            'apart than chance allows',
            'the folders of the severities were swapped, or made by different programs',
            'Compare images of both; generate the corruption again.',
        )


def _rise(facts: Facts, low: CellRecord, high: CellRecord) -> float:
    """By how much the score of the second of two cells exceeds that of the first."""
    return (facts.score(high) or 0.0) - (facts.score(low) or 0.0)


def _is_better(facts: Facts, low: CellRecord, high: CellRecord) -> bool:
    """Whether the score at the higher of two severities is clearly better."""
    rise = _rise(facts, low, high)
    if rise < _POINTS:
        return False
    per_image = facts.per_image
    if per_image and low.cell in per_image.cells and high.cell in per_image.cells:
        return clearly_above(per_image, low.cell, high.cell)
    clean = facts.score(facts.clean) if facts.clean else None
    # Without intervals: non-adjacent severities, and a large part of the clean score.
    return high.severity - low.severity > 1 and rise > max(5.0, 0.3 * (clean or 100))


def clearly_above(per_image: PerImage, first: tuple[str, int], second: tuple[str, int]) -> bool:
    """Whether a cell's score is above another one's by `_SURE` standard errors of their paired difference."""
    both = {cell: per_image.cells[cell] for cell in (first, second)}
    draws = PerImage(per_image.kind, per_image.keys, both).resampled()
    difference = draws[second] - draws[first]
    return bool(difference.mean() > _SURE * difference.std())  # False if a draw is NaN


def loading(facts: Facts) -> Iterator[Finding]:
    """Cells for which the loader returned the same image repeatedly, or blank ones."""
    clean = facts.seen_clean
    usual = clean.get('distinct', 0)
    for record in facts.done:
        seen = record.evidence
        if 'distinct' not in seen or record.samples < 4:
            continue
        first = record.cell == CLEAN
        repeated = 3 * seen['distinct'] < (record.samples if first else usual)
        blank = 3 * (seen['blank'] - (0 if first else clean.get('blank', 0))) > record.samples
        if not (repeated or blank):
            continue
        what = (
            f'{seen["blank"]} of {record.samples} images of {record.cell} have a single colour'
            if blank
            else f'{record.cell} has {seen["distinct"]} different images for {record.samples} samples'
        )
        if faster := _much_faster(facts, record):
            what += f', and took {faster}'
        yield Finding(
            'pictures from the loader',
            names_of([record]),
            what,
            'files that cannot be read are replaced, or a cache always returns the same image',
            "Check the loader's transforms and the files of this cell.",
        )


def timing(facts: Facts) -> Iterator[Finding]:
    """Cells in which the loader stood still for most of the time."""
    for record in facts.corrupted:
        usual = _usual_seconds(facts, record)
        waited = record.evidence.get('waited')
        if usual is None or waited is None:
            continue
        excess = record.seconds - usual
        if record.seconds > _FACTOR * usual and excess > _STALLED and waited > excess / 2:
            yield Finding(
                'time of a cell',
                names_of([record]),
                f'{record.cell} took {record.seconds:.0f} s, while its neighbours take {usual:.0f} s; '
                f'{waited:.0f} s of it waiting for the loader',
                'storage or workers stalled',
                'Its numbers are valid; if they look odd, remove its file in cells/ and run the sweep again.',
            )


def _usual_seconds(facts: Facts, record: CellRecord) -> float | None:
    """Median time of the other severities; of the other cells where there are few."""
    others = [r for r in facts.corrupted if r.cell != record.cell]
    beside = [r for r in others if r.corruption == record.corruption]
    chosen = beside if len(beside) > 1 else others
    return statistics.median(r.seconds for r in chosen) if len(chosen) > 1 else None


def _much_faster(facts: Facts, record: CellRecord) -> str | None:
    """How much faster a cell was than its neighbours, if it was much faster."""
    usual = _usual_seconds(facts, record)
    if usual is None or record.seconds * _FACTOR > usual:
        return None
    return f'{record.seconds:.1f} s, while its neighbours take {usual:.1f} s'


def same_copies(facts: Facts) -> Iterator[Finding]:
    """Cells whose files hold the same bytes."""
    by_content = defaultdict(list)
    for cell, content in facts.copies.items():
        by_content[content].append(cell)
    for cells in by_content.values():
        if len(cells) < 2:
            continue
        clean = str(CLEAN) in cells
        others = some([cell for cell in cells if cell != str(CLEAN)])
        yield Finding(
            'bytes of the copies',
            tuple(cells),
            f'the files of {others} are identical to the clean ones'
            if clean
            else f'the files of {others} are identical',
            'clean images were copied into the folder'
            if clean
            else 'one severity was copied into several folders',
            'Generate them again with tools/make_corrupted_dataset.py.',
        )
