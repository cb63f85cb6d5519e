"""Calibration in results.json, worked out by hand: bins, cells, groups and means with intervals."""

import numpy as np
import pytest
import torch

from fan_mm.corruptions import Benchmark
from fan_mm.evaluation.bootstrap import PerImage
from fan_mm.evaluation.calibration.measures import BINS, calibration, sums_of_labels
from fan_mm.evaluation.calibration.summary import (
    of_cells,
    of_set,
    summarize_calibration,
)
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.scope import Scope

FOG = [Cell('fog', 1), Cell('fog', 2)]
SNOW = Cell('snow', 1)
SCOPE = Scope(
    Benchmark('two', {'fog': (1, 2), 'contrast': (1,)}, (), {'weather': ('fog',)}, 'this test'),
    {'snow': (1,)},
)
CONTRAST = Cell('contrast', 1)


def sums(confidence, right, temperatures=(1.0,)):
    """Sums of pictures of two classes, all as confident."""
    probabilities = torch.tensor([[confidence, 1 - confidence]] * len(right))
    return np.stack([*sums_of_labels(probabilities, 1 - torch.tensor(right), temperatures)])


def test_one_bin_by_hand():
    found = of_set(sums(0.83, [1, 1, 1, 0]), ['plain'])['plain']
    filled = int(0.83 * BINS)
    assert found['bins']['count'] == [4 * (i == filled) for i in range(BINS)]
    for name, value in (('confidence', 83), ('accuracy', 75)):
        column = found['bins'][name]
        assert column.pop(filled) == pytest.approx(value, abs=1e-3)
        assert column == [None] * (BINS - 1)
    assert found['ECE']['value'] == pytest.approx(8, abs=1e-3)
    assert found['ECE']['interval'][0] <= 8 <= found['ECE']['interval'][1]
    nll = -(3 * np.log(0.83) + np.log(0.17)) / 4
    assert found['NLL']['value'] == pytest.approx(nll, abs=1e-4)
    brier = 2 * (3 * 0.17**2 + 0.83**2) / 4
    assert found['Brier']['value'] == pytest.approx(brier, abs=1e-4)


def test_nothing_that_counts_is_none():
    empty = np.zeros_like(sums(0.83, [1, 1]))
    found = of_set(empty, ['plain'])['plain']
    assert [found[name]['value'] for name in ('ECE', 'NLL', 'Brier')] == [None] * 3
    assert found['bins']['count'] == [0] * BINS


def summarized(cells):
    variants = ['plain', 'scaled']
    per_image = PerImage('calibration', np.arange(4), cells)
    draws = per_image.resampled()
    found = of_cells(per_image, draws, variants)
    return found, summarize_calibration(SCOPE, found, draws, variants)


def test_means_over_severities_then_over_corruptions():
    confidences = {CLEAN: 0.7, FOG[0]: 0.8, FOG[1]: 0.9, CONTRAST: 0.6, SNOW: 0.99}
    cells = {cell: sums(c, [1, 1, 1, 0], (1.0, 2.0)) for cell, c in confidences.items()}
    found, summary = summarized(cells)
    assert set(summary) == {'plain', 'scaled'} and set(summary['plain']) == {'ECE', 'NLL', 'Brier'}
    for v, variant in enumerate(('plain', 'scaled')):
        for m, measure in enumerate(('ECE', 'NLL', 'Brier')):
            value = {cell: float(calibration(s.sum(0))[v, m]) for cell, s in cells.items()}
            assert found[SNOW][variant][measure]['value'] == pytest.approx(value[SNOW])
            said = summary[variant][measure]
            fog = (value[FOG[0]] + value[FOG[1]]) / 2
            assert said['clean']['value'] == pytest.approx(value[CLEAN])
            assert said['corruptions']['fog']['value'] == pytest.approx(fog)
            assert said['corruptions']['snow']['value'] == pytest.approx(value[SNOW])
            assert said['groups']['weather']['value'] == pytest.approx(fog)
            # the hold-out left out
            assert said['mean']['value'] == pytest.approx((fog + value[CONTRAST]) / 2)
            low, high = said['mean']['interval']
            assert low <= said['mean']['value'] <= high
    assert summary['plain']['ECE']['mean'] != summary['scaled']['ECE']['mean']


def test_no_mean_over_a_part():
    cells = {cell: sums(0.8, [1, 1, 1, 0], (1.0, 2.0)) for cell in (CLEAN, FOG[0], CONTRAST)}
    said = summarized(cells)[1]['plain']['ECE']
    assert said['mean']['missing'] == said['groups']['weather']['missing'] == ['fog/2']
    assert said['mean']['value'] is None and said['corruptions']['contrast']['complete']
