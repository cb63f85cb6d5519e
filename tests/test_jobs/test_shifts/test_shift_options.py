"""Real adverse conditions with options: the clean column, fewer images, a temperature, a submission, skipping."""

import copy
import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope
from shift_runs import COUNT, NOISES, evaluate

pytest.importorskip('mmseg')

from protocol_names import unnamed
from stripe_model import StripeModel
from striped_sets import stripes, write

from fan_mm.errors import InputError
from fan_mm.evaluation.calibration import of_sweep
from fan_mm.evaluation.calibration.temperature import fit_on_pictures
from fan_mm.evaluation.results import CALIBRATION, read_arrays
from fan_mm.jobs.shifts.evaluation import evaluate_shifts
from fan_mm.jobs.shifts.results import failed_conditions


def test_another_clean_column_is_added_to_the_same_folder(data, tmp_path, monkeypatch, no_report):
    """The config's own split, then Cityscapes; what is stored is not evaluated again."""
    evaluated = []
    forward = StripeModel.forward

    def watched(self, inputs, data_samples=None, mode='tensor'):
        evaluated.extend(s.img_path for s in data_samples)
        return forward(self, inputs, data_samples, mode)

    monkeypatch.setattr(StripeModel, 'forward', watched)
    both = []
    for options, count in (({}, 8), ({'cityscapes': str(data / 'cityscapes')}, 4), ({}, 0)):
        evaluated.clear()
        both.append(evaluate(data, tmp_path, ('dark_zurich',), **options))
        assert len(evaluated) == count, evaluated
    kinds = [results['dataset']['type'] for results in both]
    assert kinds == ['CityscapesDataset', 'Cityscapes val', 'CityscapesDataset']
    assert both[1]['dataset']['published'] == 500  # of which the toy's are 3
    assert len({results['sets']['dark_zurich']['clean']['value'] for results in both}) == 1


def test_part_of_the_pictures_and_no_clean_column(data, tmp_path):
    results = evaluate(data, tmp_path, max_samples=2, clean=False)
    entry = results['sets']['acdc']
    assert entry['samples'] == 8 and entry['total'] == 4 * COUNT
    assert entry['pooled']['retention'] is None and entry['clean'] is None
    assert [c['set'] for c in results['cells']] == ['acdc'] * 4 + ['dark_zurich']
    assert '2 of 3 images' in (tmp_path / 'report.md').read_text()


def test_the_clean_twin_of_acdc(data, tmp_path, no_report):
    """Retention is to its reference pictures; evaluated by themselves, they are in no bad weather."""
    root = tmp_path / 'acdc'
    shutil.copytree(data / 'acdc', root)
    for condition in NOISES:
        rng = np.random.default_rng(3)
        image, label = stripes(rng, 5)
        stem = f'{condition}/val_ref/GOPR0001/GOPR0001_frame_{NOISES[condition]:06d}'
        write(root / f'rgb_anon/{stem}_rgb_ref_anon.png', image)
        write(root / f'gt/{stem}_gt_ref_labelTrainIds.png', label)

    def run(work_dir, **options):
        cfg = Config.fromfile(data / 'stripes.py')
        weights = str(data / 'weights.pth')
        return evaluate_shifts(cfg, weights, {'acdc': str(root)}, tmp_path / work_dir, **options)

    results = run('twin', clean_split={'acdc': 'val_ref'})
    assert results['dataset']['type'] == 'ACDC val_ref' and results['dataset']['samples'] == 4
    alone = run('alone', splits={'acdc': 'val_ref'}, clean=False)['sets']['acdc']
    assert results['sets']['acdc']['clean']['value'] == alone['pooled']['score']['value']
    assert {c['weather'] for c in alone['conditions'].values()} == {'clear'}
    for options, line in (
        ({'clean_split': {'muses': 'val'}}, '--clean muses=val: give --muses DIR, too'),
        ({'clean_split': {'acdc': 'train_ref'}}, 'no images of ACDC, split train_ref'),
        ({'clean_split': {'acdc': 'test'}}, 'ACDC test has no labels here'),
        ({'clean_split': {'acdc': 'val_ref'}, 'clean': False}, 'excludes --no-clean'),
    ):
        with pytest.raises(InputError, match=line):
            run('wrong', **options)


def test_one_temperature_for_all_conditions(data, tmp_path, monkeypatch):
    rng = np.random.default_rng(8)
    for index in range(2):
        image, label = stripes(rng, 60)
        stem = f'train/town/town_{index:06d}_000019'
        write(data / f'cityscapes/leftImg8bit/{stem}_leftImg8bit.png', image)
        write(data / f'cityscapes/gtFine/{stem}_gtFine_labelTrainIds.png', label)

    def change(cfg):
        cfg.model.type = 'SoftStripes'
        cfg.train_dataloader = copy.deepcopy(cfg.test_dataloader)
        cfg.train_dataloader.dataset.data_prefix = dict(
            img_path='leftImg8bit/train', seg_map_path='gtFine/train'
        )
        cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=1)
        cfg.optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))

    fits = []
    monkeypatch.setattr(
        of_sweep, 'fit_on_pictures', lambda *a: fits.append(fit_on_pictures(*a)) or fits[-1]
    )
    results = evaluate(data, tmp_path, ['acdc'], fit_temperature=2, change=change)
    assert len(fits) == 1 and fits[0].value != pytest.approx(1, abs=0.05)
    assert results['calibration']['temperature'] == fits[0].as_dict()
    assert [set(cell['calibration']) for cell in results['cells']] == [{'plain', 'scaled'}] * 5
    plain, scaled = (
        results['cells'][0]['calibration'][name]['NLL'] for name in ('plain', 'scaled')
    )
    assert plain != scaled
    with (tmp_path / 'results.csv').open() as file:
        rows = {row['condition']: row for row in csv.DictReader(file)}
    assert float(rows['fog']['NLL_scaled']) == pytest.approx(
        results['cells'][1]['calibration']['scaled']['NLL']['value']
    )
    pooled = results['sets']['acdc']['pooled']['calibration']['plain']['ECE']
    assert float(rows['pooled']['ECE']) == pooled['value'] and pooled['complete']
    stored = read_arrays(tmp_path, CALIBRATION)
    assert stored['sums/acdc/fog'].shape == (3, 2, 47)
    assert stored['keys/acdc/fog'].shape == stored['scenes/acdc/fog'].shape == (3,)
    assert unnamed(tmp_path, 'ACDC val', 'CityscapesDataset')[0] == []
    assert 'with temperature' in (tmp_path / 'report.md').read_text()
    assert f'{fits[0].value:.3f}' in (tmp_path / 'report.html').read_text()


def test_a_failed_condition_leaves_out_what_needs_it(data, tmp_path, monkeypatch):
    """Its first batch was right, the second fails."""

    def failing(self, inputs, data_samples=None, mode='tensor'):
        if any('/snow/' in s.img_path and '_000002_' in s.img_path for s in data_samples):
            raise RuntimeError('no snow')
        return forward(self, inputs, data_samples, mode)

    forward = StripeModel.forward
    monkeypatch.setattr(StripeModel, 'forward', failing)
    results = evaluate(data, tmp_path, ('acdc',), on_error='skip', clean=False)
    assert failed_conditions(results) == ['acdc snow: RuntimeError: no snow']
    entry = results['sets']['acdc']
    assert entry['conditions']['fog']['score']['complete']
    for name in ('pooled', 'mean_of_conditions'):
        assert entry[name]['score'] == {
            'value': None,
            'interval': None,
            'complete': False,
            'missing': ['acdc/snow'],
        }
    text = (tmp_path / 'report.md').read_text()
    assert 'INCOMPLETE' in text and 'ACDC snow: `RuntimeError: no snow`' in text


def test_submission(data, tmp_path, no_report):
    init_default_scope('mmseg')
    results = evaluate(
        data, tmp_path / 'out', ('acdc',), splits={'acdc': 'test'}, submission=str(tmp_path / 'to')
    )
    (done,) = results['submissions']
    assert 'sets' not in results and done['set'] == 'ACDC test' and done['files'] == 8
    assert Path(done['zip']).is_file() and '8 images' in done['remarks'][0]
    assert not (tmp_path / 'out' / 'results.json').exists()
    # stopped and gone on with: only what is missing is predicted
    names = sorted((tmp_path / 'to/acdc').rglob('*.png'))
    names[0].unlink()
    again = evaluate(
        data, tmp_path / 'out', ('acdc',), splits={'acdc': 'test'}, submission=str(tmp_path / 'to')
    )
    assert again['submissions'] == results['submissions']
