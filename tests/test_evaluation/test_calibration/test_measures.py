"""ECE, NLL and Brier score from sums per image: against torchmetrics, by hand, and on drawn labels."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from fan_mm.errors import InputError
from fan_mm.evaluation.bootstrap import PerImage, resample_counts
from fan_mm.evaluation.calibration import measures as module
from fan_mm.evaluation.calibration.measures import (
    BINS,
    SIZE,
    bins_of,
    calibration,
    packed,
    sums_of_labels,
    sums_of_map,
)
from fan_mm.evaluation.calibration.metric import CalibrationMetric
from fan_mm.evaluation.calibration.temperature import Samples, check_apart, fit, mean_nll


def a_map(classes=7, size=(37, 53), seed=0, spread=2.0):
    """Logits, labels that are right in half of the pixels and ignored in some, and the prediction."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(classes, *size, generator=generator)
    labels = torch.randint(0, classes, size, generator=generator)
    labels[20:] = logits.argmax(0)[20:]
    labels[:3] = 255
    return logits, labels, logits.argmax(0)


def by_torch(logits, labels):
    """ECE, NLL and Brier score of flat logits (P, C), by torchmetrics and torch."""
    metric = pytest.importorskip('torchmetrics.classification').MulticlassCalibrationError
    probabilities = logits.double().softmax(1)
    truth = functional.one_hot(labels, logits.shape[1])
    ece = metric(logits.shape[1], n_bins=BINS, norm='l1')(probabilities, labels)
    nll = functional.cross_entropy(logits.double(), labels)
    return [100 * float(ece), float(nll), float(((probabilities - truth) ** 2).sum(1).mean())]


def close(found, expected):
    """To 5e-7 of a probability; torchmetrics adds up in float32."""
    assert found[0] == pytest.approx(expected[0], abs=1e-4)  # per cent
    assert found[1:] == pytest.approx(expected[1:], abs=3e-6)


@pytest.mark.parametrize('values', [2**19, 500])  # one chunk, many chunks
@pytest.mark.parametrize('classes', [2, 7, 150])
@pytest.mark.parametrize('temperature', [1.0, 1.7])
def test_a_map_equals_torchmetrics(monkeypatch, classes, values, temperature):
    monkeypatch.setitem(module._VALUES, 'cpu', values)
    logits, labels, predicted = a_map(classes)
    sums = sums_of_map(logits, labels, predicted, temperatures=(1.0, temperature))
    valid = labels != 255
    flat = logits[:, valid].T
    for row, divisor in zip(sums, (1.0, temperature), strict=True):
        expected = by_torch(flat / divisor, labels[valid])
        close(calibration(row), expected)
        assert row[:BINS].sum() == valid.sum()
        assert row[BINS : 2 * BINS].sum() == (predicted == labels)[valid].sum()


@pytest.mark.parametrize('temperature', [1.0, 0.6])
def test_pictures_equal_torchmetrics(temperature):
    logits, labels = torch.randn(200, 10), torch.randint(0, 10, (200,))
    sums = sums_of_labels(logits.softmax(1), labels, (temperature,))
    assert sums.shape == (200, 1, SIZE)
    assert (sums[:, 0, :BINS].sum(1) == 1).all()
    expected = by_torch(logits / temperature, labels)
    close(calibration(sums.sum(0)[0]), expected)


def test_numbers_by_hand():
    """Three pictures: 0.9 and 0.58 right, 0.58 wrong: their bins are off by 0.1 and 0.08."""
    probabilities = torch.tensor([[0.9, 0.1], [0.42, 0.58], [0.58, 0.42]])
    sums = sums_of_labels(probabilities, torch.tensor([0, 1, 1])).sum(0)[0]
    counts, right, confidence = bins_of(sums)
    assert counts[13] == 1 and counts[8] == 2  # (13/15, 14/15] and (8/15, 9/15]
    assert right[13] == 1 and right[8] == 1
    assert confidence[8] == pytest.approx(1.16, abs=1e-6)
    nll = -(math.log(0.9) + math.log(0.58) + math.log(0.42)) / 3
    brier = (2 * 0.1**2 + 2 * 0.42**2 + 2 * 0.58**2) / 3
    assert calibration(sums) == pytest.approx([100 * (0.1 + 0.16) / 3, nll, brier], abs=1e-4)


@pytest.mark.parametrize(('classes', 'expected'), [(3, 4), (5, 2), (15, 0)])
def test_a_bin_holds_its_upper_edge(classes, expected):
    """Equal scores: a confidence of exactly 5, 3 and 1 fifteenths."""
    sums = sums_of_map(torch.zeros(classes, 1, 4), *torch.zeros(2, 1, 4, dtype=torch.long))
    assert sums[0, expected] == 4
    sure = sums_of_labels(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert sure[0, 0, BINS - 1] == 1 and calibration(sure[0, 0])[0] == 0


def test_drawn_labels_are_calibrated():
    """Labels drawn from the model's own softmax: what is left is the binomial noise of the bins."""
    torch.manual_seed(0)
    logits = 2 * torch.randn(19, 256, 512)
    drawn = torch.multinomial(logits.flatten(1).T.softmax(1), 1)[:, 0].view(256, 512)
    ece, nll, _ = calibration(sums_of_map(logits, drawn, logits.argmax(0))[0])
    counts = bins_of(sums_of_map(logits, drawn, logits.argmax(0))[0])[0]
    assert 0 < ece < 100 * (np.sqrt(counts) / 2).sum() / counts.sum()
    entropy = torch.distributions.Categorical(logits=logits.flatten(1).T).entropy().mean()
    assert nll == pytest.approx(float(entropy), abs=0.01)


@pytest.mark.parametrize('temperature', [0.4, 1.0, 2.5])
def test_a_known_temperature_is_recovered(temperature):
    torch.manual_seed(1)
    logits = 3 * torch.randn(5, 40000)
    labels = torch.multinomial((logits / temperature).T.softmax(1), 1)[:, 0]
    found = fit(logits, labels)
    assert found == pytest.approx(temperature, rel=0.03)
    nearby = [mean_nll(logits, labels, found * factor) for factor in (0.98, 1.02)]
    assert mean_nll(logits, labels, found) < min(nearby)


@pytest.mark.parametrize(('right', 'why'), [(True, 'right nearly everywhere'), (False, 'chance')])
def test_no_temperature_is_the_best(right, why):
    logits = 3 * torch.randn(4, 500)
    with pytest.raises(InputError, match=why):
        fit(logits, logits.argmax(0) if right else logits.argmin(0))


def test_one_channel_is_the_probability_of_class_1():
    logit = 2 * torch.randn(1, 20, 30)
    labels = torch.randint(0, 2, (20, 30))
    labels[0] = 255
    both = torch.cat([torch.zeros_like(logit), logit])
    # the prediction of mmseg has a threshold of its own
    one = sums_of_map(logit.sigmoid(), labels, logit[0] > -1, temperatures=(1.0, 2.0))
    two = sums_of_map(both, labels, both.argmax(0), temperatures=(1.0, 2.0))
    assert (one[:, : 2 * BINS] == two[:, : 2 * BINS]).all()
    assert calibration(one) == pytest.approx(calibration(two), abs=1e-5)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_types_of_numbers(dtype):
    logits, labels, _ = a_map()
    logits = logits.to(dtype)
    sums = sums_of_map(logits, labels, logits.argmax(0))
    same = sums_of_map(logits.float(), labels, logits.argmax(0))
    assert calibration(sums) == pytest.approx(calibration(same), abs=1e-5)


def test_probabilities_of_nothing_stay_finite():
    logits = torch.tensor([[0.0, 0.0], [-math.inf, 500.0], [9.0, -800.0]])[:, None]
    sums = sums_of_map(logits, torch.tensor([[1, 2]]), logits.argmax(0))
    assert calibration(sums[0])[1] == pytest.approx(-math.log(np.finfo(np.float32).tiny), abs=1e-3)
    sums = sums_of_labels(torch.tensor([[1.0, 0.0]]), torch.tensor([1]))
    assert calibration(sums[0, 0]) == pytest.approx([100, 87.3365, 2], abs=1e-3)


def test_bootstrap_equals_brute_force():
    """Drawing pictures and measuring all their pixels anew."""
    maps = [a_map(4, (6, 9), seed, spread=1 + seed / 3) for seed in range(8)]
    sums = np.stack([sums_of_map(*one) for one in maps])
    drawn = PerImage('calibration', np.arange(8), {('fog', 1): packed(sums)}).resampled(12, seed=3)
    (counts,) = resample_counts(8, 12, 3)
    for row, found in zip(counts, drawn['fog', 1], strict=True):
        chosen = [maps[i] for i, times in enumerate(row) for _ in range(int(times))]
        logits, labels, predicted = (
            torch.cat(parts, dim=-1) for parts in zip(*chosen, strict=True)
        )
        assert found[0] == pytest.approx(calibration(sums_of_map(logits, labels, predicted)[0]))


def test_sums_do_not_depend_on_order_or_parts(monkeypatch):
    """Over rows, over images, and over processes, to the last digit."""
    logits, labels, predicted = a_map(19, (64, 96))
    whole = sums_of_map(logits, labels, predicted)
    for values in (19, 5000):
        monkeypatch.setitem(module._VALUES, 'cpu', values)
        assert (sums_of_map(logits, labels, predicted) == whole).all()
    flipped = sums_of_map(*(part.flip(-1, -2) for part in (logits, labels, predicted)))
    assert (flipped == whole).all()


def test_a_gpu_adds_up_the_same(monkeypatch):
    whole = sums_of_map(*a_map(19, (64, 96)))
    monkeypatch.setattr(module, '_by_bincount', module._by_masks)
    assert (sums_of_map(*a_map(19, (64, 96))) == whole).all()


def test_packed_keeps_every_number():
    for top in (0, 200, 2**20, 2**33, 2**60):
        sums = np.array([[0, top]])
        assert (packed(sums) == sums).all()
    assert packed(np.array([2**20])).dtype == np.uint32


def sample(**changes):
    logits, labels, predicted = a_map()
    parts = {'seg_logits': logits, 'gt_sem_seg': labels[None], 'pred_sem_seg': predicted[None]}
    parts |= changes
    return {name: {'data': data} for name, data in parts.items() if data is not None}


def picture(score, label=0):
    return {'pred_score': torch.tensor(score), 'gt_label': torch.as_tensor(label).reshape(-1)}


LOGITS, LABELS, PREDICTED = a_map()
WRONG = {
    'no scores': (sample(seg_logits=None), 'no seg_logits'),
    'no labels': (sample(gt_sem_seg=None), 'no gt_sem_seg'),
    'no prediction': (sample(pred_sem_seg=None), 'no pred_sem_seg'),
    'another size': (sample(gt_sem_seg=LABELS[None, :9]), 'must be of one size'),
    'label ids': (sample(gt_sem_seg=LABELS[None].clamp(max=33)), 'label 33, but the model has 7'),
    'negative labels': (sample(gt_sem_seg=LABELS[None] - 1), 'label 254'),
    'not its prediction': (
        sample(pred_sem_seg=torch.where(LABELS == 255, 0, LABELS)[None]),
        'not the class with the highest score',
    ),
    'not finite': (sample(seg_logits=LOGITS * math.nan), 'not finite'),
    'no sigmoid': (sample(seg_logits=LOGITS[:1]), 'not between 0 and 1'),
    'no pred_score': ({'gt_label': torch.tensor([0])}, 'no pred_score'),
    'several labels': (picture([0.5, 0.5], [0, 1]), 'one label each'),
    'one sigmoid per class': (picture([0.9, 0.8]), 'does not add up to 1'),
    'logits': (picture([1.5, -0.5]), 'does not add up to 1'),
    'a class too many': (picture([0.5, 0.5], 2), 'label 2, but the model has 2'),
}


@pytest.mark.parametrize('name', WRONG)
def test_what_has_no_calibration_is_one_line(name):
    outputs, line = WRONG[name]
    with pytest.raises(InputError, match=line) as error:
        CalibrationMetric().process(None, [outputs])
    assert '\n' not in str(error.value)


def test_the_metric_in_an_evaluator():
    """As mmengine's loops use it, registered, beside others."""
    from mmengine.evaluator import Evaluator

    evaluator = Evaluator(dict(type='CalibrationMetric', temperature=2.0))
    evaluator.process([sample(), sample()], None)
    logits, labels, predicted = a_map()
    plain, scaled = calibration(sums_of_map(logits, labels, predicted, temperatures=(1.0, 2.0)))
    assert evaluator.evaluate(2) == pytest.approx(
        {
            f'calibration/{name}{end}': value
            for end, row in (('', plain), ('_scaled', scaled))
            for name, value in zip(('ECE', 'NLL', 'Brier'), row, strict=True)
        }
    )
    evaluator = Evaluator([dict(type='CalibrationMetric')])
    evaluator.process([picture([0.7, 0.3]), picture([0.2, 0.8])], None)
    assert evaluator.evaluate(2)['calibration/Brier'] == pytest.approx((0.18 + 1.28) / 2, abs=1e-5)


def test_samples_are_spread_over_the_valid_pixels(monkeypatch):
    import fan_mm.evaluation.calibration.temperature as temperature

    whole, part = Samples(2), Samples(2)
    whole.add([sample(), sample()])
    found = whole.fit()
    assert (found.pictures, found.samples) == (2, 2 * int((LABELS != 255).sum()))
    assert found.nll[1] < found.nll[0]
    monkeypatch.setattr(temperature, 'VALUES', 7 * 2 * 500)
    part.add([sample(), sample()])
    assert 900 <= part.fit().samples <= 1000
    with pytest.raises(InputError, match='no valid pixel'):
        empty = Samples(1)
        empty.add([sample(gt_sem_seg=torch.full_like(LABELS, 255)[None])])
        empty.fit()


def test_pictures_that_are_evaluated_are_not_fitted_on(tmp_path):
    paths = {}
    for name, content in (('train', b'aaa'), ('val', b'bbb'), ('copy_of_val', b'bbb')):
        paths[name] = tmp_path / f'{name}.png'
        paths[name].write_bytes(content)
    link = tmp_path / 'link.png'
    link.symlink_to(paths['val'])
    check_apart([paths['train'], 's3://bucket/a.png'], [paths['val'], 's3://bucket/b.png'])
    for same in (paths['val'], paths['copy_of_val'], link):
        with pytest.raises(InputError, match='of the split that is evaluated'):
            check_apart([paths['train'], same], [paths['val']])
