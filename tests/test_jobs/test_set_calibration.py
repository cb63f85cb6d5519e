"""Calibration of a classifier on folders of pictures: the set's classes alone, in any number of processes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from fan_mm.errors import InputError
from fan_mm.evaluation.calibration.measures import calibration, sums_of_labels
from fan_mm.evaluation.calibration.metric import VARIANTS
from fan_mm.evaluation.cell_dataset import CellBatches
from fan_mm.jobs import set_calibration
from fan_mm.jobs.set_calibration import SetCalibration


def outputs(count=60, classes=12, seed=0):
    torch.manual_seed(seed)
    return (2 * torch.randn(count, classes)).softmax(1), torch.randint(0, 4, (count,))


def test_probabilities_are_those_of_the_sets_classes():
    scores, labels = outputs()
    chosen = [3, 9, 0, 7]
    found = SetCalibration(nn.Identity(), 0)
    found.begin('imagenet_a', None)
    for part in range(0, 60, 25):
        batch = slice(part, part + 25)
        found.add(range(60)[batch], scores[batch], labels[batch], chosen)
    row = found.end()
    logits = scores[:, chosen].log()
    assert list(row) == ['calibration'] and list(row['calibration']) == ['plain']
    nll = nn.functional.cross_entropy(logits, labels)
    assert row['calibration']['plain']['NLL']['value'] == pytest.approx(float(nll), abs=1e-5)
    low, high = row['calibration']['plain']['ECE']['interval']
    assert low < high
    expected = calibration(sums_of_labels(logits.softmax(1), labels).sum(0)[0])
    assert row['calibration']['plain']['ECE']['value'] == pytest.approx(expected[0], abs=1e-4)


def test_a_temperature_changes_its_own_column_alone(monkeypatch):
    """Of logits, which are logarithms of probabilities but for a constant."""
    scores, labels = outputs()
    fitted = SimpleNamespace(value=2.0, as_dict=lambda: {'value': 2.0})
    asked = []
    monkeypatch.setattr(set_calibration, 'fit_on_pictures', lambda *a: asked.append(a) or fitted)
    model, rows = nn.Identity(), []
    for pictures in ([], ['a picture']):
        found = SetCalibration(model, len(pictures))
        if pictures:
            found.add_pictures('clean', pictures)
        found.begin('clean', 'loader')
        found.add(range(60), scores, labels, range(12))
        rows.append(found.end())
    plain, both = rows
    assert asked == [(model, ['a picture'], 'loader')]
    assert both['temperature'] == {'value': 2.0} and 'temperature' not in plain
    own, (name, scaled) = both['calibration'].pop('plain'), *both['calibration'].items()
    assert own == plain['calibration']['plain'] and name == VARIANTS[1]
    expected = nn.functional.cross_entropy(scores.log() / 2, labels)
    assert scaled['NLL']['value'] == pytest.approx(float(expected), abs=1e-4)


def test_ranks_put_their_pictures_back_in_order(monkeypatch):
    scores, labels = outputs(7)

    def part(rank, world_size):
        found = SetCalibration(nn.Identity(), 0)
        found.begin('imagenet_r', None)
        for batch in CellBatches([0], 7, 2, rank, world_size):
            found.add(batch, scores[batch], labels[batch], range(12))
        return found

    alone = part(0, 1).end()
    parts = [part(rank, 3) for rank in range(3)]
    gathered = [(p._positions, np.concatenate(p._sums)) for p in parts]
    monkeypatch.setattr(set_calibration, 'all_gather_object', lambda own: gathered)
    assert [p.end() for p in parts] == [alone] * 3


def test_scores_that_are_no_probabilities():
    found = SetCalibration(nn.Identity(), 0)
    found.begin('clean', None)
    with pytest.raises(InputError, match='does not sum to 1'):
        found.add([0, 1], torch.ones(2, 3), torch.zeros(2).long(), range(3))
