"""ECE, NLL and Brier score from sums per image: against torchmetrics, by hand, and on drawn labels."""

import math

import numpy as np
import pytest
import torch
from calibrated_samples import a_map
from torch.nn import functional

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
