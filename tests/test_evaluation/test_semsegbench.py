"""SemSegBench's published table, against the CSV that it is made from."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

from fan_mm.corruptions import BENCHMARKS
from fan_mm.evaluation.data import make_semsegbench
from fan_mm.evaluation.semsegbench import DATASETS, publications, rows

OTHER_WORST = [f'SegFormer MiT-B{size} 512x1024' for size in range(4)]
CSV = Path(__file__).parents[1] / 'data' / 'semsegbench.csv'


@pytest.fixture(scope='module')
def fields():
    """Field -> its values, read anew and without the script."""
    with open(CSV, newline='') as file:
        return {name: values for name, *values in csv.reader(file)}


def test_the_shipped_table_is_what_the_script_makes():
    made = [
        dict(zip(make_semsegbench.COLUMNS, row, strict=True)) for row in make_semsegbench.table(CSV)
    ]
    assert made == list(rows())
    assert len(made) == 76


def test_the_script_writes_the_shipped_file(tmp_path, monkeypatch):
    shipped = make_semsegbench.TARGET.read_bytes()
    monkeypatch.setattr(make_semsegbench, 'TARGET', tmp_path / 'made.json')
    monkeypatch.setattr(sys, 'argv', ['make_semsegbench.py', str(CSV)])
    make_semsegbench.main()
    assert (tmp_path / 'made.json').read_bytes() == shipped


def test_every_number_is_the_csvs(fields):
    for column, row in enumerate(rows()):
        printed = {'clean': 'mIoU_clean', 'mean': 'mIoU_2d_mean', 'worst': 'mIoU_2d_gam'}
        printed |= {name: f'mIoU_2d_{name}' for name in BENCHMARKS['semsegbench'].severities}
        printed |= {name: f'mIoU_{name}' for name in row if name.startswith('acdc')}
        for ours, theirs in printed.items():
            text = fields[theirs][column]
            assert row[ours] == (float(text) if text else None), (row, theirs)
        assert row['parameters'] == int(fields['num_params'][column].replace(',', ''))


def test_means_and_worst_follow_from_the_corruptions():
    """So the columns stand under the right names."""
    for publication in publications():
        for model in publication.models:
            values = list(model.corruptions.values())
            assert len(values) == 15
            if model.model not in OTHER_WORST:
                assert model.worst == min(values)
            assert model.corrupted == pytest.approx(np.mean(values), abs=0.006)


@pytest.mark.parametrize('name', OTHER_WORST)
def test_a_printed_worst_that_is_none_is_said(name):
    [model] = [m for m in publications('CityscapesDataset')[0].models if m.model == name]
    lowest = min(model.corruptions.values())
    assert model.worst > lowest
    assert f'printed as {model.worst}; its lowest column is {lowest} (zoom_blur)' in model.notes[0]


def test_one_sweep_was_broken_and_is_found():
    broken = [(p.dataset, m) for p in publications() for m in p.models if m.broken]
    [(dataset, model)] = broken
    assert (dataset, model.model) == ('CityscapesDataset', 'DeepLabV3+ R18 512x1024')
    assert '11 of 15' in model.notes[0] and '1.98' in model.notes[0]


@pytest.mark.parametrize(
    ('dataset', 'count', 'pictures'),
    [('cityscapes', 32, 500), ('ade20k', 26, 2000), ('voc', 18, 1449)],
)
def test_models_by_dataset(dataset, count, pictures):
    [publication] = publications(DATASETS[dataset][0])
    assert publication.samples == pictures  # of its validation, as its authors count them
    assert len(publication.models) == count
    assert len({m.model for m in publication.models}) == count
    with_acdc = sum('ACDC val' in m.real for m in publication.models)
    assert with_acdc == (32 if dataset == 'cityscapes' else 0)


def test_simulated_fog_says_little_of_real_fog():
    """What its authors' table says, and why a sweep is not the last word: r of fog with ACDC's fog."""
    models = [m for m in publications('CityscapesDataset')[0].models if not m.broken]
    fog = [[m.corruptions['fog'], m.real['ACDC val, fog']] for m in models]
    snow = [[m.corruptions['snow'], m.real['ACDC val, snow']] for m in models]
    assert np.corrcoef(np.transpose(fog))[0, 1] == pytest.approx(0.40, abs=0.01)
    assert np.corrcoef(np.transpose(snow))[0, 1] == pytest.approx(0.88, abs=0.01)
