"""The audit says nothing of healthy sweeps, and of 76 published ones something about one."""

import csv
from pathlib import Path

import numpy as np
import pytest
from healthy import changed, healthy

from fan_mm.corruptions import BENCHMARKS
from fan_mm.evaluation.audit import CHECKS, Facts, audit, joined
from fan_mm.evaluation.cells import CLEAN, Cell, CellRecord

CSV = Path(__file__).parents[2] / 'data' / 'semsegbench.csv'
TASKS = ('segmentation', 'detection', 'classification')


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('seed', range(7))
def test_healthy_sweeps_have_no_findings(task, seed):
    facts = healthy(task, seed)
    assert audit(facts) == {'checks': [check.__name__ for check in CHECKS], 'findings': []}


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('kept', ['clean alone', 'one corruption', 'no evidence'])
def test_parts_of_healthy_sweeps(task, kept):
    """After the clean cell, of a condition of another data set, of a store that an older version wrote."""

    def change(record):
        if kept == 'no evidence':
            record.evidence = {}
        wanted = kept == 'no evidence' or record.cell == CLEAN
        return record if wanted or (kept, record.corruption) == ('one corruption', 'fog') else None

    facts = changed(healthy(task, 3), change)
    assert audit(facts)['findings'] == []


@pytest.mark.parametrize('task', TASKS)
@pytest.mark.parametrize('score', [0.0, 100.0])
def test_scores_that_cannot_be_worse_or_better(task, score):
    """A weak detector finds nothing under most corruptions, a toy is right under most."""

    def change(record):
        if record.severity > 1:
            record.metrics = dict.fromkeys(record.metrics, score)
            record.per_class = {
                name: dict.fromkeys(values, score) for name, values in record.per_class.items()
            }
            record.evidence.pop('scores')
        return record

    facts = changed(healthy(task, 1, benchmark='cityscapes-c'), change, per_image=None)
    found = audit(facts)['findings']
    assert [f['check'] for f in found if f['check'] != 'order of severities'] == []


def published():
    with open(CSV, newline='') as file:
        fields = {name: values for name, *values in csv.reader(file)}
    corruptions = BENCHMARKS['semsegbench'].severities
    for number in range(76):
        scores = {Cell(c, 3): float(fields[f'mIoU_2d_{c}'][number]) for c in corruptions}
        scores = {CLEAN: float(fields['mIoU_clean'][number]), **scores}
        yield [CellRecord(*c, status='done', metrics={'mIoU': s}) for c, s in scores.items()]


def test_of_the_published_sweeps_the_broken_one_is_found():
    found = [audit(Facts(cells, 'segmentation', 'mIoU'))['findings'] for cells in published()]
    [finding] = [finding for findings in found for finding in findings]
    assert finding['check'] == 'one score'
    assert '11 of 15 corrupted cells have the same mIoU, 1.98' in finding['evidence']
    assert len(finding['cells']) == 11
    assert np.flatnonzero([bool(findings) for findings in found]).size == 1


def audits_of(conditions):
    """Audits by condition, of the names of checks that find something there."""
    return {
        name: {
            'checks': ['a', 'b'],
            'findings': [
                {'check': check, 'cells': ['clean'], 'evidence': 'e', 'reason': 'r', 'advice': 'a'}
                for check in checks
            ],
        }
        for name, checks in conditions.items()
    }


def test_audits_of_conditions_joined():
    """That a model only guesses in the dark is a result; that it does on clean pictures is a finding."""
    both = ['clean score', 'batch norms']
    found = joined(audits_of({'clean': both, 'acdc/night': both}), 'clean', {})
    assert found['checks'] == ['a', 'b']
    assert [(f['check'], f['cells'], f['evidence']) for f in found['findings']] == [
        ('clean score', ['clean'], 'clean: e'),
        ('batch norms', ['clean', 'acdc/night'], 'clean, acdc/night: e'),
    ]
    assert joined({}, 'clean', {}) == {'checks': [], 'findings': []}


@pytest.mark.parametrize('check', ['clean score', 'one class everywhere'])
@pytest.mark.parametrize(
    ('guessed', 'cells'),
    [
        ({'clean': 0, 'fog': 1}, None),
        ({'clean': 0, 'fog': 1, 'rain': 1, 'snow': 0}, None),
        ({'clean': 0, 'fog': 1, 'rain': 1, 'snow': 1, 'night': 0}, ['fog', 'rain', 'snow']),
        ({'clean': 0, 'fog': 1, 'rain': 1, 'snow': 1, **dict.fromkeys('abc', 0)}, None),
        ({'fog': 1, 'rain': 0}, None),
        ({'fog': 1, 'rain': 1}, ['fog', 'rain']),
        ({'clean': 1, 'fog': 1}, ['clean']),
    ],
)
def test_guesses_in_most_conditions_are_no_result(check, guessed, cells):
    found = joined(audits_of({name: [check] * hit for name, hit in guessed.items()}), 'clean', {})
    assert [finding['cells'] for finding in found['findings']] == ([cells] if cells else [])
