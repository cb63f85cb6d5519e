"""Checks of predictions against labels: one class everywhere, other labels, chance level."""

import math
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from fan_mm.evaluation.audit.finding import Facts, Finding, names_of, some
from fan_mm.evaluation.cells import CLEAN, CellRecord

_EVERYWHERE = 0.99  # share of predictions that are one class
_MOST_OF_TRUTH = 0.9  # share of the ground truth for which predicting one class is plausible
_ENOUGH = 8  # minimum number of predictions, or of labels of a class
_EXCHANGED = 0.1  # share of the ground truth in classes that are exchanged
_UNKNOWN = (
    0.01  # share of predictions that are no class; a model does not predict what it never saw
)
_MOSTLY = 0.5  # likewise, of classes that are taken for others that do not occur
_UNITS = {'segmentation': 'pixels', 'classification': 'images', 'detection': 'objects'}


def one_class(facts: Facts) -> Iterator[Finding]:
    """One class predicted nearly everywhere, in several cells or in cells that are not hard.

    For a weak model this is normal at the highest severities. It indicates a broken sweep in the clean
    cell, in most corruptions, or at a lower severity than one where it does not occur.
    """
    clean, odd = facts.clean, []
    if clean and _is_everywhere(facts, clean):
        odd = [clean]
    by_name = defaultdict(list)
    for record in facts.corrupted:
        by_name[record.corruption].append(record)
    everywhere = {n: [r for r in rs if _is_everywhere(facts, r)] for n, rs in by_name.items()}
    hit = [name for name, records in everywhere.items() if records]
    if len(hit) > 2 and 2 * len(hit) > len(by_name):
        odd += [r for name in hit for r in everywhere[name]]
    elif not odd:
        odd = [
            record
            for name in hit
            for record in everywhere[name]
            if any(
                o.severity > record.severity and _share(o) < _MOST_OF_TRUTH for o in by_name[name]
            )
        ]
    if not odd:
        return
    names = names_of(odd)
    number = odd[0].evidence['most'][0]
    truth = _truth_share(facts, number)
    says = '' if truth is None else f', of the ground truth {100 * truth:.0f} %'
    yield Finding(
        'one class everywhere',
        names,
        f'in {some(names)} {100 * _share(odd[0]):.1f} % of the predictions are {facts.name(number)}{says}',
        'weights that were not loaded, overflow, or inputs normalised differently than in training',
        'Look at predictions (--save-images), and evaluate in float32 with the training config.',
    )


def _share(record: CellRecord) -> float:
    """Share of the class that is predicted most; 0 where it is not known."""
    _, count, total = record.evidence.get('most') or (0, 0, 0)
    return count / total if total >= _ENOUGH else 0.0


def _truth_share(facts: Facts, number: int) -> float | None:
    truth = facts.seen_clean.get('truth')
    if not truth or not sum(truth) or number >= len(truth):
        return None
    return truth[number] / sum(truth)


def _is_everywhere(facts: Facts, record: CellRecord) -> bool:
    if _share(record) < _EVERYWHERE or len(facts.classes) == 1:
        return False
    truth = _truth_share(facts, record.evidence['most'][0])
    return truth is None or truth < _MOST_OF_TRUTH


def label_values(facts: Facts) -> Iterator[Finding]:
    """Labels that are no class, or mostly ignored."""
    seen = facts.seen_clean
    labels, units = seen.get('labels', 0), _UNITS.get(facts.task, 'labels')
    if outside := seen.get('outside'):
        counted = labels - seen['ignored']
        share = 100 * sum(count for _, count in outside) / counted
        values = ', '.join(str(value) for value, _ in outside)
        yield Finding(
            'values of the labels',
            names_of([CLEAN]),
            f'{share:.2g} % of the labelled {units} have values that are not among the '
            f'{len(seen["truth"])}: {values}',
            'label ids instead of train ids, or an ignore_index that differs from the labels',
            'Map the labels to class indices, or set ignore_index; these count as wrong whatever the '
            'model predicts.',
        )
    if labels and 2 * seen.get('ignored', 0) > labels:
        share = 100 * seen['ignored'] / labels
        yield Finding(
            'values of the labels',
            names_of([CLEAN]),
            f'{share:.0f} % of the {units} are ignored',
            'reduce_zero_label set for labels that start at 0, or masks of 0 and 255 for two classes',
            'Check the values in a label file; the score covers only the rest.',
        )


def unknown_classes(facts: Facts) -> Iterator[Finding]:
    """Predictions of classes that the dataset does not have: the model has other classes than the labels."""
    seen, units = facts.seen_clean, _UNITS.get(facts.task, 'predictions')
    unknown = seen.get('unknown', 0)
    known = sum(seen.get('predicted', ()))
    if unknown < _ENOUGH or unknown < _UNKNOWN * (unknown + known):
        return
    share = 100 * unknown / (unknown + known)
    yield Finding(
        'predicted classes',
        names_of([CLEAN]),
        f'of {share:.0f} % of the {units} the prediction is not among the {len(seen["truth"])} classes '
        'that the dataset has',
        'labels for a subset of the classes that the model was trained on (for class folders: their '
        'positions)',
        'Give the dataset all training classes in their order (those without images have empty folders), or a '
        "list with the model's labels; these count as wrong whatever the model predicts.",
    )


def class_order(facts: Facts) -> Iterator[Finding]:
    """Classes that are confused with each other as a whole: the order of their names probably differs."""
    seen = facts.seen_clean
    truth, taken = seen.get('truth'), seen.get('taken_for', ())
    if not truth or not sum(truth):
        return
    wrong = [
        number
        for number, (other, count) in enumerate(taken)
        if other != number
        and count >= _ENOUGH
        and 2 * count > truth[number]
        # A class that is absorbed by another correctly predicted class is just weak.
        and not (truth[other] and taken[other][0] == other)
    ]
    share = sum(truth[number] for number in wrong) / sum(truth)
    # A weak model may predict classes that do not occur; that alone does not indicate another order.
    displaced = any(truth[taken[number][0]] for number in wrong)
    if len(wrong) < 2 or share < (_EXCHANGED if displaced else _MOSTLY):
        return
    wrong.sort(key=lambda number: -truth[number])
    examples = '; '.join(
        f'{facts.name(n)} is predicted as {facts.name(taken[n][0])} ({100 * taken[n][1] / truth[n]:.0f} %)'
        for n in wrong[:3]
    )
    yield Finding(
        'order of the classes',
        names_of([CLEAN]),
        f'{examples}, {len(wrong)} classes in total, with {100 * share:.0f} % of the ground truth',
        'the labels use another class order than the model (label ids, a list in another order, '
        'reduce_zero_label)',
        'Compare metainfo.classes and the label values with those used in training.',
    )


def chance(facts: Facts) -> Iterator[Finding]:
    """A clean score no better than guessing."""
    clean = facts.clean
    score = facts.score(clean) if clean else None
    if clean is None or score is None:
        return
    bound = _bound_of_chance(facts, clean)
    if bound is None or score > bound:
        return
    yield Finding(
        'clean score',
        names_of([CLEAN]),
        f'the {facts.headline} is {score:.2f}, no better than guessing ({bound:.2f})',
        'a wrong checkpoint, or a different preprocessing or class order than in training',
        'First reproduce the known score of this checkpoint with tools/test.py; retention means '
        'nothing here.',
    )


def _bound_of_chance(facts: Facts, clean: CellRecord) -> float | None:
    """The highest score, per cent, that is no better than guessing; None if that is not known."""
    classes = len(facts.classes)
    if facts.task == 'detection' and 'mAP' in facts.headline:
        return 0.1
    if facts.task == 'classification' and facts.headline == 'top1' and classes > 1:
        guess = 100 / classes
        noise = 3 * math.sqrt(guess * (100 - guess) / max(clean.samples, 1))
        return guess + min(noise, 0.25 * (100 - guess))
    truth, predicted = (np.array(clean.evidence.get(n) or []) for n in ('truth', 'predicted'))
    if facts.headline != 'mIoU' or not truth.sum() or not predicted.sum():
        return None
    # for predictions that are independent of the ground truth
    p, q = truth / truth.sum(), predicted / predicted.sum()
    occurs = p + q > 0
    if occurs.sum() < 2:
        return None
    guess = 100 * (p * q)[occurs] / (p + q - p * q)[occurs]
    return float(guess.mean() + 0.03 * (100 - guess.mean()))
