"""Rows and lines of test sets made of what was found; batches that are no classifier's."""

from types import SimpleNamespace

import pytest
import torch

from fan_mm.errors import InputError
from fan_mm.jobs import ood

ROW = dict(size=224, weights='ema', samples=3)
RESULTS = dict(
    model=dict(name='fan'),
    test_sets=dict(
        clean=ROW | dict(top1=80.04, size=None),
        imagenet_r=ROW | dict(top1=None),
        imagenet_c=ROW | dict(mCE=None, mean=60.0, audit=dict(findings=[])),
    ),
)


def test_values_that_could_not_be_computed():
    assert ood.missing_values(RESULTS) == ['imagenet_r: top1', 'imagenet_c: mCE']


def test_a_table_of_one_row():
    heads, _, cells, *notes = ood.table_row(RESULTS).splitlines()
    assert [h.strip() for h in heads.strip('|').split('|')] == [
        *('model', 'clean', 'ImageNet-R', 'C, mCE (lower is better)', 'C, mean')
    ]
    assert [c.strip() for c in cells.strip('|').split('|')] == [
        *('fan', '80.0', 'incomplete', 'incomplete', '60.0')
    ]
    assert notes == [
        'clean: None pixels, ema weights, 3 images',
        'imagenet_r: 224 pixels, ema weights, 3 images',
        'imagenet_c: 224 pixels, ema weights, 3 images',
    ]
    other = dict(RESULTS, test_sets=dict(imagenet_c=ROW | dict(mean=60.04)))
    assert '| undefined | 60.0 |' in ood.table_row(other)


@pytest.mark.parametrize('calibration', [None, dict(summary='calibrated')])
def test_values_of_a_sweep(calibration):
    summary = dict(mean=dict(value=60.0), retention=dict(value=None), clean=80.0)
    results = dict(summary=summary, dataset=dict(samples=3), audit='audit', calibration=calibration)
    expected = dict(mean=60.0, retention=None, clean=80.0, samples=3, audit='audit')
    expected |= {'calibration': 'calibrated'} if calibration else {}
    assert ood._sweep_values(results) == expected


def test_names_of_protocols():
    names = [ood._protocol(n, SimpleNamespace()) for n in ('imagenet_c', 'imagenet_a', 'clean')]
    assert names == ['imagenet-c', 'ImageNet-A', 'SimpleNamespace']


def sample(scores=(0.1, 0.9), label=(1,)):
    return SimpleNamespace(
        pred_score=None if scores is None else torch.tensor(scores),
        gt_label=None if label is None else torch.tensor(label),
    )


@pytest.mark.parametrize(
    ('samples', 'words'),
    [
        ([sample(), sample(label=0)], None),
        ([sample(), sample(scores=None)], r'^Model returns no pred_score, a score for each class'),
        ([sample(scores=((0.1, 0.9),))], r'^Model returns no pred_score'),
        ([SimpleNamespace()], r'^Model returns no pred_score'),
        ([sample(), sample(label=None)], r'^some images do not have exactly one label'),
        ([sample(label=(0, 1))], r'^some images do not have exactly one label'),
    ],
)
def test_a_batch(samples, words):
    model = type('Model', (), dict(test_step=lambda self, batch: samples))()
    if words:
        with pytest.raises(InputError, match=words):
            ood._predict(model, None)
    else:
        scores, labels = ood._predict(model, None)
        assert scores.dtype == torch.float32 and scores.shape == (2, 2)
        assert labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ('name', 'scores', 'label', 'words'),
    [
        ('clean', [0.1, 0.9], 1, None),
        ('imagenet_a', [0.0] * 1000, 1, None),
        ('imagenet_a', [0.0] * 999, 1, r'^ImageNet-A needs a classifier of 1000 classes, not 999$'),
        ('clean', [0.1, torch.nan], 1, r'^clean: the scores of the first images are NaN or inf'),
        ('clean', [0.1, 0.9], 2, r'^clean: a label is 2, but the model has 2 classes$'),
    ],
)
def test_the_first_batch(name, scores, label, words, monkeypatch):
    monkeypatch.setattr(ood, 'try_model', lambda step, loader, said: step((loader, said)))
    model = torch.nn.Module()
    model.test_step = lambda batch: [sample(scores, label)] if batch == ('loader', name) else 1 / 0
    if words:
        with pytest.raises(InputError, match=words):
            ood._check_first_batch(name, model, 'loader')
    else:
        ood._check_first_batch(name, model, 'loader')
    assert not model.training
