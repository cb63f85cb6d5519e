import numpy as np
import pytest
from synthetic_results import CITYSCAPES, synthetic_results

from fan_mm.report import robustness_table
from fan_mm.report.robustness_table import HOLD_OUTS, RobustnessTable


@pytest.fixture(scope='module')
def cityscapes():
    return RobustnessTable(synthetic_results())


def test_states(cityscapes):
    table = RobustnessTable(synthetic_results(absent=[('snow', 4)], failed=[('fog', 1)]))
    assert table.state('snow', 3) == 'done'
    assert table.state('snow', 4) == 'missing'
    assert table.state('fog', 1) == 'failed'
    assert table.state('gaussian_noise', 5) == 'outside'
    assert table.value('fog', 1) is None
    assert 'cannot read' in table.error('fog', 1)
    assert (table.absent('missing'), table.absent('failed')) == ([('snow', 4)], [('fog', 1)])
    assert cityscapes.absent('missing') == cityscapes.absent('failed') == []


def test_a_cell_that_is_not_even_listed_is_missing():
    results = synthetic_results()
    results['cells'] = [
        c for c in results['cells'] if (c['corruption'], c['severity']) != ('fog', 2)
    ]
    assert RobustnessTable(results).absent('missing') == [('fog', 2)]


def test_means_are_the_summary_and_none_if_incomplete():
    whole = RobustnessTable(synthetic_results())
    values = [whole.value('snow', s) for s in (1, 2, 3, 4, 5)]
    assert whole.mean('snow') == pytest.approx(np.mean(values))
    assert whole.retention('snow') == pytest.approx(100 * np.mean(values) / whole.clean)
    part = RobustnessTable(synthetic_results(absent=[('snow', 4)]))
    assert part.mean('snow') is None
    assert part.retention('snow') is None
    assert part.group('weather')['mean'] is None
    assert part.group('noise')['mean'] == pytest.approx(whole.group('noise')['mean'])
    assert part.measure('mean').value is None
    assert part.measure('mean').missing == ('snow/4',)


def test_headlines_are_those_of_the_task():
    names = {
        t: [m.name for m in RobustnessTable(synthetic_results(t)).headline()]
        for t in ('segmentation', 'detection', 'classification')
    }
    assert names['segmentation'] == ['clean', 'mean', 'retention']
    assert names['detection'] == ['clean', 'mPC', 'rPC']
    assert names['classification'] == ['clean', 'mean', 'retention', 'mCE', 'relative_mCE']
    better = {
        m.name: m.higher_is_better
        for m in RobustnessTable(synthetic_results('classification')).headline()
    }
    assert not better['mCE']
    assert better['retention']
    lower = {n for n, (_, higher, _) in robustness_table._MEASURES.items() if not higher}
    assert lower == {'mCE', 'relative_mCE'}


def test_hold_outs_are_a_group_that_counts_in_no_mean():
    table = RobustnessTable(synthetic_results('classification'))
    assert table.rows[HOLD_OUTS] == ('speckle_noise', 'gaussian_blur', 'spatter', 'saturate')
    assert list(table.rows) == [*table.groups, HOLD_OUTS]
    assert not table.counts('spatter', 3)
    assert table.counts('snow', 3)
    assert table.mean('spatter') is not None
    assert HOLD_OUTS not in RobustnessTable(synthetic_results()).rows


def test_class_losses(cityscapes):
    losses = cityscapes.class_losses()
    assert losses.metric == 'IoU'
    assert losses.losses.shape == (19, 16)
    assert set(losses.classes) == {c.replace('_', ' ') for c in CITYSCAPES.split()}
    cells = {
        (c['corruption'], c['severity']): c['per_class'].get('IoU')
        for c in cityscapes.results['cells']
    }
    clean = cells['clean', 0]['road']
    snow = np.mean([cells['snow', s]['road'] for s in (1, 2, 3, 4, 5)])
    noise = np.mean([cells['gaussian_noise', s]['road'] for s in (1, 2, 3)])
    row = losses.losses[losses.classes.index('road')]
    assert row[losses.corruptions.index('snow')] == pytest.approx(clean - snow)
    assert row[losses.corruptions.index('gaussian_noise')] == pytest.approx(clean - noise)
    assert losses.classes[-1] == 'train'  # has no ground truth, so no value
    assert np.isnan(losses.losses[-1]).all()
    means = losses.losses[:-1].mean(1)
    assert np.all(np.diff(means) <= 0)


def test_class_losses_of_an_incomplete_corruption_are_unknown(monkeypatch):
    monkeypatch.setattr(robustness_table, 'MOST_CLASSES', 5)
    losses = RobustnessTable(synthetic_results(absent=[('snow', 4)])).class_losses()
    assert losses.losses.shape == (5, 16)
    assert losses.total == 19
    assert np.isnan(losses.losses[:, losses.corruptions.index('snow')]).all()
    assert np.isfinite(losses.losses[:, losses.corruptions.index('fog')]).all()
    worst = losses.worst()
    assert len(worst) == 5
    assert worst[0][2] == np.nanmax(losses.losses)


def test_no_class_values_no_losses():
    assert RobustnessTable(synthetic_results('classification')).class_losses() is None


def test_lost_share_is_clipped(cityscapes):
    assert cityscapes.lost_share(0.0) == 1
    assert cityscapes.lost_share(cityscapes.clean / 2) == pytest.approx(0.5)
    assert cityscapes.lost_share(None) is None


def test_a_done_cell_without_a_metric_is_undefined():
    results = synthetic_results()
    next(c for c in results['cells'] if c['corruption'] == 'fog')['metrics']['mIoU'] = None
    table = RobustnessTable(results)
    assert table.absent('undefined') == [('fog', 1)]
    assert table.state('fog', 2) == 'done'


def test_images_say_if_they_are_a_part():
    results = synthetic_results()
    assert RobustnessTable(results).images == 'CityscapesDataset, 500 images'
    results['dataset'] |= {'samples': 20, 'total': 500}
    assert RobustnessTable(results).images == 'CityscapesDataset, 20 of 500 images'
