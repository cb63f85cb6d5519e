"""Summaries worked out by hand, complete and not."""

import numpy as np
import pytest

from fan_mm.corruptions import BENCHMARKS, Benchmark
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.metrics import ALEXNET_ERRORS, FAN_IMAGENET_C
from fan_mm.evaluation.published import corruption_columns, table_rows
from fan_mm.evaluation.scope import Scope, choose_scope
from fan_mm.evaluation.summary import summarize

SCOPE = Scope(
    Benchmark(
        name='two',
        severities={'gaussian_noise': (1, 2), 'fog': (1, 2, 3)},
        hold_outs=(),
        groups={'noise': ('gaussian_noise',), 'weather': ('fog',)},
        source='this test',
    ),
    {'snow': (1,)},
)
SCORES = {
    CLEAN: 80.0,
    Cell('gaussian_noise', 1): 40.0,
    Cell('gaussian_noise', 2): 20.0,
    Cell('fog', 1): 70.0,
    Cell('fog', 2): 60.0,
    Cell('fog', 3): 50.0,
    Cell('snow', 1): 5.0,
}


def test_by_hand():
    summary = summarize(SCOPE, SCORES, 'detection', 80)
    assert summary['clean'] == 80
    means = {name: c['mean'] for name, c in summary['corruptions'].items()}
    assert means == {'gaussian_noise': 30, 'fog': 60, 'snow': 5}
    assert summary['groups']['noise'] == {
        'mean': 30,
        'retention': 37.5,
        'complete': True,
        'missing': [],
    }
    # (30 + 60) / 2, the hold-out left out; over the cells it would be 48
    assert summary['mean'] == {'value': 45, 'interval': None, 'complete': True, 'missing': []}
    assert summary['retention']['value'] == 56.25
    assert summary['mPC'] == summary['mean']
    assert summary['rPC'] == summary['retention']
    assert 'mCE' not in summary


@pytest.mark.parametrize('how', ['absent', 'undefined'])
def test_a_missing_cell_makes_every_mean_over_it_incomplete(how):
    scores = dict(SCORES)
    if how == 'absent':
        del scores[Cell('fog', 2)]
    else:
        scores[Cell('fog', 2)] = None
    summary = summarize(SCOPE, scores, 'segmentation', 19)
    assert summary['corruptions']['fog'] == {'mean': None, 'complete': False, 'missing': [2]}
    assert summary['corruptions']['gaussian_noise']['mean'] == 30
    assert summary['groups']['weather']['mean'] is None
    assert summary['groups']['weather']['retention'] is None
    assert summary['groups']['weather']['missing'] == ['fog/2']
    assert summary['groups']['noise']['complete']
    for name in ('mean', 'retention'):
        assert summary[name] == {
            'value': None,
            'interval': None,
            'complete': False,
            'missing': ['fog/2'],
        }


def test_without_clean_there_is_a_mean_but_no_retention():
    scores = {cell: score for cell, score in SCORES.items() if cell != CLEAN}
    summary = summarize(SCOPE, scores, 'segmentation', 19)
    assert summary['mean']['value'] == 45
    assert summary['retention']['missing'] == ['clean']
    assert summary['groups']['noise'] == {
        'mean': 30,
        'retention': None,
        'complete': True,
        'missing': [],
    }


def test_a_missing_hold_out_harms_nothing_else():
    scores = {cell: score for cell, score in SCORES.items() if cell.corruption != 'snow'}
    summary = summarize(SCOPE, scores, 'segmentation', 19)
    assert summary['mean']['complete']
    assert not summary['corruptions']['snow']['complete']


def test_intervals_come_from_the_draws():
    draws = {cell: score + np.linspace(-1, 1, 101) for cell, score in SCORES.items()}
    summary = summarize(SCOPE, SCORES, 'segmentation', 19, draws)
    assert summary['mean']['interval'] == pytest.approx([45 - 0.95, 45 + 0.95])
    assert summary['worst']['interval'] == pytest.approx([30 - 0.95, 30 + 0.95])
    ratio = 100 * (45 + np.linspace(-1, 1, 101)) / (80 + np.linspace(-1, 1, 101))
    assert summary['retention']['interval'] == pytest.approx(
        list(np.quantile(ratio, [0.025, 0.975]))
    )


def test_nothing_to_retain():
    summary = summarize(SCOPE, {**SCORES, CLEAN: 0.0}, 'segmentation', 19)
    assert summary['retention']['value'] is None
    assert summary['retention']['complete']


def imagenet_scores(scope):
    return {cell: 100 * (1 - ALEXNET_ERRORS.get(cell.corruption, 0.5)) for cell in scope.cells}


def test_corruption_errors_are_for_imagenet():
    scope = choose_scope(BENCHMARKS['imagenet-c'])
    scores = {**imagenet_scores(scope), CLEAN: 56.5}
    summary = summarize(scope, scores, 'classification', 1000)
    assert summary['mCE']['value'] == pytest.approx(100)
    assert summary['relative_mCE']['value'] == pytest.approx(100)
    assert 'mCE' not in summarize(scope, scores, 'classification', 10)
    assert 'mCE' not in summarize(scope, scores, 'segmentation', 1000)
    part = choose_scope(BENCHMARKS['imagenet-c'], severities=[1, 2, 3])
    assert 'mCE' not in summarize(part, scores, 'classification', 1000)


def test_fans_sixteen_are_for_imagenet_c():
    names = ['noise', 'blur', 'weather', 'digital', 'gaussian_blur', 'speckle_noise', 'saturate']
    scope = choose_scope(BENCHMARKS['imagenet-c'], names)
    scores = {cell: float(cell.severity) for cell in scope.cells} | {CLEAN: 10.0}
    scores |= {Cell('speckle_noise', s): 19.0 for s in (1, 2, 3, 4, 5)}
    summary = summarize(scope, scores, 'classification', 1000)
    assert summary['mean_16']['value'] == pytest.approx(3 + 16 / 16)
    assert summary['retention_16']['value'] == pytest.approx(40)
    assert summary['mean']['value'] == pytest.approx(3)  # the benchmark's own 15
    assert 'mCE' in summary and len(FAN_IMAGENET_C) == len(set(FAN_IMAGENET_C)) == 16
    fifteen = choose_scope(BENCHMARKS['imagenet-c'])
    assert 'mean_16' not in summarize(fifteen, scores, 'classification', 1000)
    assert 'mean_16' not in summarize(scope, scores, 'segmentation', 1000)
    printed = table_rows(12)[0]
    assert set(corruption_columns(printed)) == set(FAN_IMAGENET_C)


@pytest.mark.parametrize(
    ('benchmark', 'names', 'has'),
    [
        ('coco-c', None, False),  # lacks three of the 15
        ('imagenet-c', None, False),  # mPC is that mean
        ('imagenet-c', ['fog', 'snow'], False),
        ('all', None, True),
        ('coco-c', ['noise', 'blur', 'weather', 'digital', *ALEXNET_ERRORS], True),
    ],
)
def test_detection_has_the_usual_fifteen_beside_another_mean(benchmark, names, has):
    scope = choose_scope(BENCHMARKS[benchmark], names)
    scores = {cell: 50.0 if cell.corruption in ALEXNET_ERRORS else 10.0 for cell in scope.cells}
    summary = summarize(scope, scores | {CLEAN: 100.0}, 'detection', 80)
    assert ('mPC_15' in summary, 'rPC_15' in summary) == (has, has)
    if has:
        assert summary['mPC_15']['value'] == summary['rPC_15']['value'] == 50
        assert summary['mPC']['value'] < 50
    assert not {'mCE', 'mean_16'} & set(summary)


def test_the_worst_corruption_is_named():
    summary = summarize(SCOPE, SCORES, 'segmentation', 19)
    # snow, lower still, is a hold-out
    assert summary['worst'] | {'value': 30, 'corruption': 'gaussian_noise'} == summary['worst']
    scores = {**SCORES, Cell('fog', 1): None}
    assert 'corruption' not in summarize(SCOPE, scores, 'segmentation', 19)['worst']


def test_incomplete_mce_says_what_is_missing():
    scope = choose_scope(BENCHMARKS['imagenet-c'])
    scores = imagenet_scores(scope)
    del scores[Cell('snow', 4)]
    summary = summarize(scope, scores, 'classification', 1000)
    assert summary['mCE']['value'] is None
    assert summary['mCE']['missing'] == ['snow/4']


def test_hold_outs_alone_have_no_mean():
    scope = choose_scope(BENCHMARKS['imagenet-c'], ['spatter'], [3])
    summary = summarize(scope, {CLEAN: 80.0, Cell('spatter', 3): 60.0}, 'classification', 10)
    assert summary['corruptions']['spatter']['mean'] == 60
    none = {'value': None, 'interval': None, 'complete': False, 'missing': []}
    assert summary['mean'] == summary['retention'] == none


def test_what_no_cell_has_is_undefined_and_not_missing():
    """The AP of large objects, say, of images without any; a cell that failed is missing nevertheless."""
    nothing = {'value': None, 'interval': None, 'complete': True, 'missing': []}
    summary = summarize(SCOPE, dict.fromkeys(SCORES), 'detection', 80)
    for name in ('mean', 'retention', 'worst', 'mPC'):
        assert summary[name] == nothing
    assert summary['corruptions']['fog'] == {'mean': None, 'complete': True, 'missing': []}
    del (scores := dict.fromkeys(SCORES))[Cell('fog', 2)]
    assert summarize(SCOPE, scores, 'detection', 80)['mean']['complete'] is False
