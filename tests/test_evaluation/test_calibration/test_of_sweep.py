"""Calibration of every cell of a sweep, on the stripes of `tiny_cityscapes`."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip('mmseg')

import mmseg.datasets
import mmseg.evaluation  # noqa: F401  (registration)
from forked import on_ranks
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmseg.models import SegTTAModel
from protocol_names import unnamed
from stripe_model import SoftStripes, StripeModel

from fan_mm.errors import InputError
from fan_mm.evaluation import RobustnessSweep, compare, read_per_image
from fan_mm.evaluation.bootstrap import resample_counts
from fan_mm.evaluation.calibration.measures import calibration, sums_of_map
from fan_mm.evaluation.calibration.of_sweep import SweepCalibration
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.results import CALIBRATION
from fan_mm.jobs.robustness import summary_text
from fan_mm.report.comparison import build_comparison
from fan_mm.report.report import write_report

SMALL = dict(corruptions=['gaussian_noise', 'fog'], severities=[1, 3])
CELLS = 5


@pytest.fixture
def sweep(cfg):
    def make(model=None, **options):
        options = {**SMALL, 'calibration': True, **options}
        return RobustnessSweep(
            model or SoftStripes(), cfg.test_dataloader, cfg.test_evaluator, **options
        )

    return make


@pytest.fixture
def training(cfg):
    """The four training pictures."""
    dataset = cfg.test_dataloader.dataset.copy()
    dataset.data_prefix = dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train')
    return DATASETS.build(dataset)


def without_times(results):
    return [{k: v for k, v in cell.items() if k != 'seconds'} for cell in results['cells']]


def test_every_cell_has_it(cfg, sweep, tmp_path):
    results = sweep(work_dir=tmp_path).run()
    model = SoftStripes().eval()
    sums = []
    for batch in Runner.build_dataloader(cfg.test_dataloader):
        (sample,) = model.test_step(batch)
        parts = sample.seg_logits, sample.gt_sem_seg, sample.pred_sem_seg
        logits, labels, predicted = (part.data for part in parts)
        sums.append(sums_of_map(logits, labels[0], predicted[0]))
    stored = read_per_image(tmp_path, CALIBRATION)
    assert (stored.cells[CLEAN] == np.stack(sums)).all()
    assert len(stored.cells) == CELLS and list(stored.keys) == list(read_per_image(tmp_path).keys)
    found = results['cells'][0]['calibration']['plain']
    ece, nll, brier = calibration(sum(sums)[0])
    assert [found[n]['value'] for n in ('ECE', 'NLL', 'Brier')] == pytest.approx([ece, nll, brier])
    (counts,) = resample_counts(3)
    drawn = calibration(counts @ np.stack(sums)[:, 0])[:, 0]
    assert found['ECE']['interval'] == pytest.approx(list(np.quantile(drawn, [0.025, 0.975])))
    per_cell = [c['calibration']['plain']['ECE']['value'] for c in results['cells']]
    summary = results['calibration']['summary']['plain']['ECE']
    assert summary['clean']['value'] == per_cell[0]
    assert summary['mean']['value'] == pytest.approx(np.mean(per_cell[1:]))
    assert summary['groups']['noise']['value'] == pytest.approx(np.mean(per_cell[1:3]))
    assert summary['mean']['interval'][0] <= summary['mean']['value']
    assert results['calibration']['temperature'] is None
    assert 'ECE clean' in summary_text(results)


def test_it_goes_on_where_it_was(sweep, training, tmp_path):
    alone = sweep(fit_on=training).run()
    sweep(fit_on=training, work_dir=tmp_path, corruptions=['fog']).run()
    (tmp_path / 'cells' / 'fog_3.json').unlink()
    again = sweep(fit_on=training, work_dir=tmp_path).run()
    assert without_times(again) == without_times(alone)
    assert again['calibration'] == alone['calibration']


@pytest.mark.parametrize('first', [False, True])
def test_a_sweep_without_does_not_go_on_with(sweep, tmp_path, first):
    begun = sweep(work_dir=tmp_path, calibration=first, corruptions=['fog'], severities=[1]).run()
    with pytest.raises(InputError, match='holds a sweep with another calibration') as error:
        sweep(work_dir=tmp_path, calibration=not first)
    assert '\n' not in str(error.value)
    options = dict(corruptions=['fog'], severities=[1], overwrite=True)
    results = sweep(work_dir=tmp_path, calibration=not first, **options).run()
    assert results['summary'] == begun['summary']  # the other numbers are the same with and without
    assert ('calibration' in results) != first
    assert (tmp_path / CALIBRATION).exists() != first


def test_temperature(sweep, training, tmp_path):
    """Too sharp by far: with the temperature clean pictures are calibrated better."""
    work_dir = tmp_path / 'out'
    results = sweep(SoftStripes(0.6), fit_on=training, work_dir=work_dir).run()
    found = results['calibration']
    assert found['temperature']['value'] > 1 and found['temperature']['pictures'] == 4
    labels = [training[i]['data_samples'].gt_sem_seg.data for i in range(4)]
    valid = sum(int((label != 255).sum()) for label in labels)
    assert 0 < valid == found['temperature']['samples'] < sum(label.numel() for label in labels)
    assert found['temperature']['nll'][1] < found['temperature']['nll'][0]
    clean = {v: found['summary'][v]['NLL']['clean']['value'] for v in ('plain', 'scaled')}
    assert clean['scaled'] < clean['plain']
    # it is that of a model whose logits are so much smaller
    softer = sweep(SoftStripes(0.6 / found['temperature']['value'])).run()
    for cell, other in zip(results['cells'], softer['cells'], strict=True):
        for name in ('ECE', 'NLL', 'Brier'):
            value = cell['calibration']['scaled'][name]['value']
            assert value == pytest.approx(other['calibration']['plain'][name]['value'], abs=1e-3)
    with pytest.raises(InputError, match='another temperature'):
        sweep(SoftStripes(0.6), work_dir=work_dir)
    stored = json.loads((work_dir / 'temperature.json').read_text())
    assert stored == {'protocol': 'cityscapes-c', **found['temperature']}
    write_report(work_dir, work_dir)
    assert unnamed(work_dir, 'cityscapes-c', 'Cityscapes-C')[0] == []


def test_never_on_what_is_evaluated(cfg, sweep):
    with pytest.raises(InputError, match='is an image of the evaluated split'):
        sweep(fit_on=DATASETS.build(cfg.test_dataloader.dataset), max_samples=1)


def test_a_model_without_probabilities_ends_at_the_first_batch(sweep):
    with pytest.raises(InputError, match=r'the first batch fails: calibration: .* no seg_logits'):
        sweep(StripeModel()).run()


def test_test_time_augmentation(cfg, sweep, training):
    """Of two augmentations that change nothing the merged scores are the model's own."""

    class Whole(SoftStripes):
        out_channels = 19

    alone = sweep(Whole(), fit_on=training).run()
    load, *rest = cfg.test_dataloader.dataset.pipeline
    twice = [[dict(type='RandomFlip', prob=0.0)] * 2, *([part] for part in rest)]
    augment = dict(type='TestTimeAug', transforms=twice)
    cfg.test_dataloader.dataset.pipeline = [load, augment]
    training.pipeline = DATASETS.build(cfg.test_dataloader.dataset).pipeline
    merged = sweep(SegTTAModel(Whole()), fit_on=training).run()
    for found, expected in zip(merged['cells'], alone['cells'], strict=True):
        assert found['metrics'] == expected['metrics']
        for variant in ('plain', 'scaled'):
            a, b = (c['calibration'][variant]['NLL']['value'] for c in (found, expected))
            assert a == pytest.approx(b, abs=1e-4)
    assert merged['calibration']['probabilities'].endswith('merged over test-time augmentations')


def test_two_processes_say_what_one_does(sweep, training, tmp_path):
    """With a temperature, which both have to the last digit; three pictures do not divide."""
    alone = sweep(fit_on=training, work_dir=tmp_path / 'alone').run()

    def rank_main(rank):
        results = sweep(fit_on=training, work_dir=tmp_path / 'both').run()
        (tmp_path / f'rank{rank}.json').write_text(json.dumps(results))

    on_ranks(rank_main, 2, tmp_path / 'store')
    stored = [read_per_image(tmp_path / name, CALIBRATION) for name in ('alone', 'both')]
    assert all((stored[0].cells[c] == stored[1].cells[c]).all() for c in stored[0].cells)
    for rank in range(2):
        results = json.loads((tmp_path / f'rank{rank}.json').read_text())
        assert results['calibration'] == alone['calibration']
        assert without_times(results) == without_times(alone)


def test_differences_are_paired(sweep, training, tmp_path):
    for name, model in (('a', SoftStripes(0.3)), ('b', SoftStripes(0.3, shift=9.0))):
        sweep(model, fit_on=training, work_dir=tmp_path / name, model_info=dict(name=name)).run()
    differences = compare(tmp_path / 'a', tmp_path / 'b')
    first, second = (read_per_image(tmp_path / name, CALIBRATION) for name in 'ab')
    (counts,) = resample_counts(3)
    cells = [Cell(c, s) for c in SMALL['corruptions'] for s in SMALL['severities']]

    def mean_of(side):
        sums = [np.einsum('rn,nvs->rvs', counts, side.cells[cell]) for cell in cells]
        return np.mean([calibration(s) for s in sums], axis=0)

    drawn = mean_of(second) - mean_of(first)
    for v, end in enumerate(('', '_scaled')):
        for m, measure in enumerate(('ECE', 'NLL', 'Brier')):
            found = differences[f'mean_{measure}{end}']
            bounds = list(np.quantile(drawn[:, v, m], [0.025, 0.975]))
            assert found['interval'] == pytest.approx(bounds)
            assert found['significant'] == (not bounds[0] <= 0 <= bounds[1])
    rows = build_comparison([tmp_path / 'a', tmp_path / 'b']).differences
    assert {'clean_ECE', 'mean_Brier_scaled'} <= {row.measure for row in rows}


@pytest.mark.parametrize(
    ('metrics', 'ignored'),
    [([{}], 255), ([{}, {'ignore_index': None}, {'ignore_index': 7}, {'ignore_index': 9}], 7)],
)
def test_pixels_that_the_sweeps_metric_ignores_do_not_count(metrics, ignored, monkeypatch):
    from fan_mm.evaluation.calibration import of_sweep

    monkeypatch.setattr(of_sweep, 'probabilities_of', lambda *_: None)
    evaluator = SimpleNamespace(metrics=[SimpleNamespace(**metric) for metric in metrics])
    assert SweepCalibration(None, 'segmentation', evaluator).metric.ignore_index == ignored
