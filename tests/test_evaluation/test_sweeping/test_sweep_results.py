"""From the stored cells to results: which scores are summed up, and what stands beside them."""

from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.evaluator import BaseMetric, Evaluator

from fan_mm.evaluation.cells import CLEAN, Cell, CellRecord
from fan_mm.evaluation.scores import KnownMetric
from fan_mm.evaluation.sweeping import results


@pytest.mark.parametrize(
    ('task', 'summed_up'),
    [
        ('segmentation', ['b/mIoU']),
        ('classification', ['b/mIoU']),
        ('detection', ['b/mIoU', 'a/aAcc']),  # all but errors
    ],
)
def test_other_scores_that_are_summed_up(task, summed_up):
    names = ['a/mIoU', 'b/mIoU', 'a/aAcc', 'a/loss']
    assert results._summarized(KnownMetric(task, (), 1), 'a/mIoU', names) == summed_up


def test_contents_of_copies(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'a')
    paths = [str(tmp_path / 'a.png')]
    assert results._copies(paths, None) == {}
    found = results._copies(paths, {'fog/1': 'x'})
    assert list(found) == ['clean', 'fog/1'] and found['fog/1'] == 'x'
    (tmp_path / 'a.png').write_bytes(b'b')
    assert results._copies(paths, {})['clean'] != found['clean']


class Own(BaseMetric):
    def process(self, data_batch, data_samples):
        raise NotImplementedError

    def compute_metrics(self, results):
        raise NotImplementedError


@pytest.mark.parametrize(
    ('statistics', 'scale', 'done', 'headline'),
    [
        (None, 1, 2, 'mIoU'),
        ('iou', None, 2, 'mIoU'),
        ('iou', None, 0, 'mDice'),  # where no cell has a score, it needs a name
        (None, 1, 0, 'score'),
    ],
)
@pytest.mark.parametrize('calibrated', [False, True])
def test_what_is_put_together(statistics, scale, done, headline, calibrated, monkeypatch, tmp_path):
    cells = [CLEAN, Cell('fog', 1), Cell('fog', 2)]
    scores = [{'mIoU': 50.0, 'aAcc': 80.0}, {'mIoU': 40.0}, {}] if done else [{}] * 3
    records = {
        cell: CellRecord(*cell, 'done' if found else 'failed', found)
        for cell, found in zip(cells, scores, strict=True)
    }
    asked = []

    def all_statistics(done, name='statistics'):
        asked.append((done, name))
        kept = {
            'statistics': np.ones((2, 2, 1)),
            'draws/aAcc': np.ones(1),
            'calibration': np.ones(3),
        }
        return {cell: kept[name] for cell in done if name in kept}

    headlines = () if headline == 'score' else ('mDice', 'mFscore')
    how = KnownMetric('segmentation', headlines, scale, statistics)
    monkeypatch.setattr(results, 'how_to_read', lambda evaluator: how)
    monkeypatch.setattr(results, 'build_results', lambda **given: given)
    monkeypatch.setattr(results, 'audit', lambda facts: facts)
    calibration = SimpleNamespace(into=lambda *given: given) if calibrated else None
    scope = SimpleNamespace(cells=cells)
    protocol = {'corrupted_images': {'fog/1': 'x'}}
    given = dict(model={'name': 'm'}, dataset={'classes': ['road']})
    found, per_image, of_calibration = results.results_of(
        SimpleNamespace(get=records.get, all_statistics=all_statistics),
        scope=scope,
        evaluator=Evaluator([Own()]),
        calibration=calibration,
        paths=[str(tmp_path / name) for name in ('a.png', 'b.png')],
        protocol=protocol,
        colours={'images': 2},
        settings={'ignore_index': 255},
        **given,
    )
    assert found['settings'] == {'ignore_index': 255}
    assert found['records'] == list(records.values())
    assert (found['task'], found['headline']) == ('segmentation', headline)
    assert found['unit'] == ('%' if scale else None) and found['protocol'] is protocol
    assert found['scope'] is scope and found['summarized'] == []
    assert (found['model'], found['dataset']) == (given['model'], given['dataset'])
    facts = found['audit']
    assert facts.records == found['records'] and (facts.task, facts.headline) == (
        how.task,
        headline,
    )
    assert (facts.classes, facts.colours) == (['road'], {'images': 2})
    assert list(facts.copies) == ['clean', 'fog/1']
    assert facts.per_image is per_image is found['per_image']
    if statistics and done:
        assert per_image.kind == 'iou' and list(per_image.cells) == cells[:2]
        assert len(per_image.keys) == 2 and list(per_image.others) == ['aAcc']
    else:
        assert per_image is None
    if calibrated:
        into, of_scope, keys, sums = of_calibration
        assert into is found and of_scope is scope and len(keys) == 2 and list(sums) == cells[:done]
    else:
        assert of_calibration is None
