"""What predictions and truth say of each other: each check by what it finds, and what it leaves alone."""

import pytest
from healthy import changed, healthy

from fan_mm.evaluation.audit import class_checks
from fan_mm.evaluation.cells import CLEAN


def found(check, facts):
    return list(getattr(class_checks, check)(facts))


def everywhere(facts, where):
    """The same with one class everywhere in some cells."""

    def change(record):
        if where(record):
            record.evidence['most'] = [3, 3199, 3200]
        return record

    return changed(facts, change)


@pytest.mark.parametrize('task', ['segmentation', 'detection', 'classification'])
@pytest.mark.parametrize(
    ('where', 'cells'),
    [
        (lambda r: r.cell == CLEAN, ('clean',)),
        (lambda r: r.severity == 5, 19),
        (lambda r: (r.corruption, r.severity) == ('fog', 2), ('fog/2',)),
        (lambda r: r.corruption in ('fog', 'snow') and r.severity > 3, ()),  # a weak model
    ],
)
def test_one_class_everywhere(task, where, cells):
    findings = found('one_class', everywhere(healthy(task), where))
    assert len(findings) == bool(cells)
    for finding in findings:
        assert finding.cells == cells or len(finding.cells) == cells
        assert "100.0 % of the predictions are 'c3', of the ground truth" in finding.evidence


def test_one_class_that_is_most_of_the_truth():
    def change(record):
        record.evidence['most'] = [3, 3199, 3200]
        if record.cell == CLEAN:
            record.evidence['truth'] = [10, 10, 10, 900]
        return record

    assert not found('one_class', changed(healthy(), change))


@pytest.mark.parametrize(
    ('evidence', 'words'),
    [
        (
            dict(outside=[[33, 50], [19, 10]], ignored=400, labels=1000),
            '10 % of the labelled pixels',
        ),
        (dict(ignored=600, labels=1000), '60 % of the pixels are ignored'),
        (dict(ignored=400, labels=1000), None),
    ],
)
def test_values_of_the_labels(evidence, words):
    facts = changed(healthy(), lambda r: (r.cell == CLEAN and r.evidence.update(evidence)) or r)
    findings = found('label_values', facts)
    assert [words in finding.evidence for finding in findings] == [True] * (words is not None)
    assert all('33, 19' in f.evidence for f in findings if 'outside' in evidence)


@pytest.mark.parametrize(
    ('unknown', 'words'), [(800, 'of 20 % of the images'), (7, None), (30, None)]
)
def test_predictions_of_no_class(unknown, words):
    def change(record):
        if record.cell == CLEAN:
            record.evidence |= dict(truth=[1600, 1600], predicted=[1600, 1600], unknown=unknown)
        return record

    findings = found('unknown_classes', changed(healthy('classification'), change))
    assert [words in finding.evidence for finding in findings] == [True] * (words is not None)


def taken(facts, other):
    """The same with what each class is taken for in the clean cell."""

    def change(record):
        if record.cell == CLEAN:
            truth = record.evidence['truth']
            record.evidence['taken_for'] = [[other(i), int(0.8 * n)] for i, n in enumerate(truth)]
        return record

    return changed(facts, change)


@pytest.mark.parametrize('task', ['segmentation', 'classification'])
def test_order_of_the_classes(task):
    facts = healthy(task)
    count = len(facts.classes)
    [finding] = found('class_order', taken(facts, lambda i: (i + 1) % count))
    assert f'{count} classes in total, with 100 % of the ground truth' in finding.evidence
    # one class swallows all the others: no other order would be better
    assert not found('class_order', taken(facts, lambda i: 0))
    # one class alone is taken for one that has no truth
    assert not found('class_order', taken(facts, lambda i: i or 1))


@pytest.mark.parametrize(
    ('task', 'score', 'expected'),
    [
        ('segmentation', 3.0, 1),
        ('segmentation', 15.0, 0),
        ('detection', 0.0, 1),
        ('detection', 4.0, 0),
        ('classification', 12.0, 1),
        ('classification', 60.0, 0),
    ],
)
def test_chance(task, score, expected):
    def change(record):
        if record.cell == CLEAN:
            record.metrics = dict.fromkeys(record.metrics, score)
        return record

    findings = found('chance', changed(healthy(task), change))
    assert len(findings) == expected
    assert all(f'{score:.2f}, no better than guessing' in f.evidence for f in findings)


@pytest.mark.parametrize('classes', [2, 3])
@pytest.mark.parametrize('images', [3, 9])
def test_few_pictures_that_are_all_right_are_no_chance(classes, images):
    facts = healthy('classification')
    facts.classes[classes:] = []

    def change(record):
        record.metrics, record.samples = {'top1': 100.0}, images
        return record

    assert not found('chance', changed(facts, change))


@pytest.mark.parametrize(
    ('task', 'classes', 'samples', 'truth', 'predicted', 'bound'),
    [
        # a tenth, and three standard deviations of a share of 100 pictures
        ('classification', 10, 100, None, None, 10 + 3 * 3),
        ('classification', 2, 9, None, None, 50 + 0.25 * 50),  # a quarter of the rest at most
        ('classification', 1, 9, None, None, None),
        ('detection', 8, 9, None, None, 0.1),
        # of halves that know nothing of each other 1/4 is common and 3/4 is either
        ('segmentation', 3, 9, [5, 5, 0], [8, 8, 0], 100 / 3 + 0.03 * 200 / 3),
        ('segmentation', 3, 9, [10, 0, 0], [0, 5, 0], 3.0),
        ('segmentation', 3, 9, [5, 0, 0], [8, 0, 0], None),  # one class is no choice
        ('segmentation', 3, 9, [0, 0, 0], [8, 1, 0], None),
        ('segmentation', 3, 9, [5, 5, 0], None, None),
    ],
)
def test_what_guessing_would_give(task, classes, samples, truth, predicted, bound):
    facts = healthy(task)
    facts.classes[:] = [f'c{i}' for i in range(classes)]
    clean = facts.clean
    clean.samples = samples
    clean.evidence.update(truth=truth, predicted=predicted)
    found = class_checks._bound_of_chance(facts, clean)
    assert found == (None if bound is None else pytest.approx(bound))


@pytest.mark.parametrize(('count', 'is_found'), [(98, False), (99, True)])
def test_nearly_everywhere(count, is_found):
    def change(record):
        if record.cell == CLEAN:
            record.evidence['most'] = [3, count, 100]
        return record

    assert bool(found('one_class', changed(healthy(), change))) == is_found


@pytest.mark.parametrize(('total', 'is_found'), [(7, False), (8, True)])
def test_few_predictions_are_no_class_everywhere(total, is_found):
    def change(record):
        if record.cell == CLEAN:
            record.evidence['most'] = [3, total, total]
        return record

    assert bool(found('one_class', changed(healthy(), change))) == is_found


@pytest.mark.parametrize(
    ('hit', 'corruptions', 'is_found'),
    [(9, 19, False), (10, 19, True), (3, 5, True), (2, 3, False)],
)
def test_one_class_in_most_corruptions_or_in_few(hit, corruptions, is_found):
    """At the hardest severity, where a weak model may end."""
    names = sorted({r.corruption for r in healthy().records} - {'clean'})[:corruptions]
    facts = everywhere(healthy(), lambda r: r.corruption in names[:hit] and r.severity == 5)
    facts = changed(facts, lambda r: r if r.corruption in ('clean', *names) else None)
    assert [len(f.cells) for f in found('one_class', facts)] == [hit] * is_found


def exchanged(truth, taken_for):
    def change(record):
        if record.cell == CLEAN:
            record.evidence.update(truth=truth, taken_for=taken_for)
        return record

    return changed(healthy(), change)


@pytest.mark.parametrize(
    ('truth', 'taken_for', 'is_found'),
    [
        ([100, 100, 100], [[1, 60], [0, 60], [2, 90]], True),
        ([100, 100, 100], [[1, 50], [0, 60], [2, 90]], False),  # half is not most of it
        ([100, 100, 100], [[1, 60], [1, 60], [2, 90]], False),  # one alone
        ([8, 8, 60], [[1, 8], [0, 8], [2, 60]], True),
        ([7, 8, 60], [[1, 7], [0, 8], [2, 60]], False),  # too few
        ([10, 10, 180], [[1, 9], [0, 9], [2, 90]], True),  # a tenth of the truth
        ([10, 10, 181], [[1, 9], [0, 9], [2, 90]], False),
        ([0, 0, 0], [[1, 0], [0, 0], [2, 0]], False),
        # two classes that a weak model takes for others, which do not occur; and most classes
        ([30, 30, 100, 0, 0], [[3, 17], [4, 17], [2, 90], [3, 0], [4, 0]], False),
        ([50, 50, 100, 0, 0], [[3, 30], [4, 30], [2, 90], [3, 0], [4, 0]], True),
        ([30, 30, 100, 0, 0], [[1, 17], [4, 17], [2, 90], [3, 0], [4, 0]], True),  # one moved up
    ],
)
def test_which_classes_are_taken_for_each_other(truth, taken_for, is_found):
    assert bool(found('class_order', exchanged(truth, taken_for))) == is_found
