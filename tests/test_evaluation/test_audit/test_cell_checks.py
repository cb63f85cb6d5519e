"""What cells say of each other: each check by what it finds, and what it leaves alone."""

import dataclasses

import numpy as np
import pytest
from healthy import changed, healthy

from fan_mm.engine.first_batch.outputs import NOT_FINITE
from fan_mm.evaluation.audit import cell_checks
from fan_mm.evaluation.audit.equality import repeated_score
from fan_mm.evaluation.audit.finding import Finding, in_words, some
from fan_mm.evaluation.cells import Cell


def found(check, facts):
    return list(getattr(cell_checks, check)(facts))


def with_evidence(facts, cells, **evidence):
    return changed(facts, lambda r: (str(r.cell) in cells and r.evidence.update(evidence)) or r)


@pytest.mark.parametrize(
    ('cells', 'words'),
    [
        (('clean', 'snow/2', 'fog/1'), 'in snow/2, fog/1 the model gets the clean images'),
        (('fog/1', 'fog/2', 'fog/3'), 'in fog/1, fog/2, fog/3 the model gets the same images'),
    ],
)
def test_same_pictures(cells, words):
    facts = with_evidence(healthy(), cells, pictures='same')
    [finding] = found('same_pictures', facts)
    assert words in finding.evidence
    assert finding.cells == cells
    copies = dict.fromkeys(cells, 'abc')
    assert not found('same_pictures', dataclasses.replace(facts, copies=copies))  # said already


def test_same_scores_of_other_pictures():
    facts = with_evidence(healthy('detection'), ('fog/1', 'snow/2'), scores='same')
    [finding] = found('same_scores', facts)
    assert finding.cells == ('snow/2', 'fog/1')
    assert not found('same_scores', with_evidence(facts, ('fog/1', 'snow/2'), pictures='same'))


def test_same_scores_of_segmentation_are_told_by_its_values():
    facts = healthy()
    values = next(r for r in facts.records if r.cell == Cell('fog', 1))

    def change(record):
        if record.corruption == 'snow':
            record.metrics, record.per_class = values.metrics, values.per_class
        return record

    [finding] = found('same_scores', changed(facts, change))
    assert len(finding.cells) == 6


@pytest.mark.parametrize(
    ('values', 'is_found'),
    [
        ([30.0, *[0.0] * 18], False),  # 19 classes of which one is found are no evidence
        ([*range(30, 39), 0.0, 100.0], False),
        ([*range(30, 40), 0.0, 100.0], True),
        ([0.5, 99.5, *range(30, 38)], True),
    ],
)
def test_ten_values_are_in_common_by_no_chance(values, is_found):
    per_class = {'IoU': {f'c{i}': float(value) for i, value in enumerate(values)}}
    metrics = {'mIoU': float(values[0])}
    facts = changed(
        healthy(), lambda r: dataclasses.replace(r, metrics=metrics, per_class=per_class)
    )
    assert bool(found('same_scores', facts)) == is_found


@pytest.mark.parametrize(
    ('task', 'samples', 'expected'),
    [
        ('segmentation', 32, 1),
        ('classification', 50000, 1),
        ('classification', 400, 0),  # of which one is always wrong
        ('detection', 32, 0),
    ],
)
def test_one_score_for_most(task, samples, expected):
    facts = healthy(task, benchmark='imagenet-c')

    def change(record):
        record.samples = samples
        if record.severity > 2:
            record.metrics = dict.fromkeys(record.metrics, 10.0)
        return record

    findings = found('one_score', changed(facts, change))
    assert len(findings) == expected
    for finding in findings:
        assert f'45 of 75 corrupted cells have the same {facts.headline}, 10.0' in finding.evidence
    assert not found('one_score', facts)


@pytest.mark.parametrize('what', ['pictures', 'scores'])
def test_one_score_of_cells_that_are_equal_in_all(what):
    facts = healthy(benchmark='imagenet-c')

    def change(record):
        if record.severity > 2:
            record.metrics = dict.fromkeys(record.metrics, 10.0)
            record.evidence[what] = 'equal'
        return record

    equal = changed(facts, change)
    assert found(f'same_{what}', equal) and not found('one_score', equal)


@pytest.mark.parametrize(
    ('scores', 'value'),
    [
        ([2.0, 2.0, 2.0, 5.0], 2.0),
        ([2.0, 2.0, 4.0, 5.0], None),
        ([0.5, 0.5, 0.5, 5.0], 0.5),
        ([99.5, 99.5, 99.5, 5.0], 99.5),
        ([2.0, 2.0, 2.0], None),
        ([0.0] * 9, None),
        ([100.0] * 9, None),
        ([None] * 9, None),
        ([], None),
    ],
)
def test_repeated_score(scores, value):
    repeated = repeated_score({str(i): s for i, s in enumerate(scores)})
    assert (repeated and repeated[0]) == value


@pytest.mark.parametrize('undefined', [False, True])
def test_not_finite(undefined):
    def change(record):
        if record.corruption == 'fog' and undefined:
            record.metrics = {'mIoU': None}
        elif record.corruption == 'fog':
            error = f'the model outputs seg_logits with {NOT_FINITE}'
            record = dataclasses.replace(record, status='failed', error=error)
        return record

    [finding] = found('not_finite', changed(healthy(), change))
    assert finding.cells == tuple(f'fog/{s}' for s in range(1, 6))
    assert finding.evidence.startswith('fog/1' if undefined else 'in fog/1')
    # where clean has none either, the metric has none to give
    nothing = changed(healthy(), lambda r: dataclasses.replace(r, metrics={'mIoU': None}))
    assert not found('not_finite', nothing)


def exchanged(facts, first, second):
    """The same with the scores and statistics of two cells exchanged."""
    other = {first: second, second: first}
    by_cell = {r.cell: r for r in facts.records}

    def change(record):
        record.metrics = by_cell[other.get(record.cell, record.cell)].metrics
        return record

    if facts.per_image:
        cells = {cell: facts.per_image.cells[other.get(cell, cell)] for cell in by_cell}
        facts = dataclasses.replace(
            facts, per_image=dataclasses.replace(facts.per_image, cells=cells)
        )
    return changed(facts, change)


@pytest.mark.parametrize('task', ['segmentation', 'detection', 'classification'])
def test_severities_in_the_wrong_order(task):
    facts = healthy(task, images=500)
    clean = facts.score(facts.clean)
    fall = {
        name: clean - facts.score(next(r for r in facts.records if r.cell == Cell(name, 5)))
        for name in ('gaussian_noise', 'contrast', 'motion_blur', 'jpeg_compression', 'fog')
    }
    name = max(fall, key=fall.get)
    assert fall[name] > 15
    [finding] = found('severity_order', exchanged(facts, Cell(name, 1), Cell(name, 5)))
    assert finding.cells == (f'{name}/1', f'{name}/5')
    # of these the parameters are in no order
    named = Cell('saturate', 1), Cell('saturate', 5)
    assert not found('severity_order', exchanged(facts, *named))
    named = Cell('elastic_transform', 2), Cell('elastic_transform', 3)
    assert not found('severity_order', exchanged(facts, *named))


def test_a_difference_within_the_interval_is_none():
    facts = healthy('classification', images=20)
    right = np.zeros((20, 1, 1), bool)
    right[:10] = True
    cells = {r.cell: right for r in facts.records}
    cells[Cell('contrast', 5)] = np.roll(right, 1)
    cells[Cell('contrast', 5)][15:17] = True  # 60 %, by two pictures
    per_image = dataclasses.replace(facts.per_image, cells=cells)

    def change(record):
        record.metrics = {'top1': 100.0 * cells[record.cell].mean()}
        return record

    assert not found('severity_order', changed(facts, change, per_image=per_image))


@pytest.mark.parametrize(
    ('evidence', 'words'),
    [
        (dict(distinct=1), 'snow/2 has 1 different images for 32 samples'),
        (dict(blank=20), '20 of 32 images of snow/2 have a single colour'),
    ],
)
def test_pictures_from_the_loader(evidence, words):
    facts = with_evidence(healthy(), ('snow/2',), **evidence)
    fast = changed(
        facts, lambda r: dataclasses.replace(r, seconds=0.5 if r.cell == Cell('snow', 2) else 20.0)
    )
    [finding] = found('loading', fast)
    assert finding.evidence == f'{words}, and took 0.5 s, while its neighbours take 20.0 s'
    slow = changed(facts, lambda r: dataclasses.replace(r, seconds=20.0))
    [finding] = found('loading', slow)
    assert finding.evidence == words


@pytest.mark.parametrize(
    ('cell', 'evidence', 'is_found'),
    [
        ('snow/2', dict(blank=10), False),  # of 32
        ('snow/2', dict(blank=11), True),
        ('clean', dict(blank=10), False),
        ('clean', dict(blank=11), True),
        ('snow/2', dict(distinct=11), False),
        ('snow/2', dict(distinct=10), True),
        ('clean', dict(distinct=11), False),
        ('clean', dict(distinct=10), True),
    ],
)
def test_a_third_of_the_pictures(cell, evidence, is_found):
    facts = with_evidence(healthy(), (cell,), **evidence)
    assert [f.cells for f in found('loading', facts)] == [(cell,)] * is_found


def test_what_is_blank_in_the_clean_cell_too_is_the_data_sets():
    facts = changed(healthy(), lambda r: r.evidence.update(blank=10) or r)
    assert not found('loading', facts)
    assert not found('loading', with_evidence(facts, ('snow/2',), blank=20))
    assert found('loading', with_evidence(facts, ('snow/2',), blank=21))


@pytest.mark.parametrize(('samples', 'is_found'), [(3, False), (4, True)])
def test_few_pictures_say_nothing(samples, is_found):
    facts = changed(healthy(), lambda r: dataclasses.replace(r, samples=samples))
    facts = with_evidence(facts, ('snow/2',), distinct=1)
    assert bool(found('loading', facts)) == is_found


def test_data_sets_with_pictures_that_occur_twice():
    facts = changed(healthy(), lambda r: r.evidence.update(distinct=16) or r)
    assert not found('loading', facts)


def test_pictures_that_are_blank_in_every_cell_are_one_finding():
    [finding] = found('loading', changed(healthy(), lambda r: r.evidence.update(blank=20) or r))
    assert finding.cells == ('clean',)


@pytest.mark.parametrize(
    ('seconds', 'waited', 'expected'),
    [
        (600.0, 500.0, 1),
        (600.0, 2.0, 0),  # a busy machine
        (0.1, 0.0, 0),  # read ahead while another cell was evaluated
        (90.0, 80.0, 0),
    ],
)
def test_time_of_a_cell(seconds, waited, expected):
    def change(record):
        record.seconds = 40.0
        if record.cell == Cell('fog', 2):
            record.seconds = seconds
            record.evidence['waited'] = waited
        return record

    findings = found('timing', changed(healthy(), change))
    assert len(findings) == expected
    words = 'fog/2 took 600 s, while its neighbours take 40 s; 500 s of it waiting for the loader'
    assert all(finding.evidence == words for finding in findings)


@pytest.mark.parametrize(
    ('cells', 'words'),
    [
        (('fog/1', 'fog/2'), 'the files of fog/1, fog/2 are identical'),
        (('clean', 'fog/2'), 'the files of fog/2 are identical to the clean ones'),
    ],
)
def test_bytes_of_copies(cells, words):
    facts = healthy()
    own = {str(r.cell): f'content of {r.cell}' for r in facts.records}
    assert not found('same_copies', dataclasses.replace(facts, copies=own))
    [finding] = found(
        'same_copies', dataclasses.replace(facts, copies=own | dict.fromkeys(cells, 'one'))
    )
    assert (finding.cells, finding.evidence) == (cells, words)


@pytest.mark.parametrize(
    ('count', 'words'),
    [(1, '0'), (4, '0, 1, 2, 3'), (5, '0, 1, 2, 3 and 1 more'), (9, '0, 1, 2, 3 and 5 more')],
)
def test_many_cells_are_named_by_the_first(count, words):
    assert some([str(i) for i in range(count)]) == words


def test_the_entry_of_a_finding_and_its_words():
    entry = Finding('crops', ('clean', 'fog/1'), 'all is cut', 'a crop', 'Leave it out.').entry()
    assert entry == dict(
        check='crops',
        cells=['clean', 'fog/1'],
        evidence='all is cut',
        reason='a crop',
        advice='Leave it out.',
    )
    assert in_words(entry) == 'all is cut; most likely a crop. Leave it out.'
