"""Paired bootstrap: draws, sums and intervals against direct computation and theory."""

import tracemalloc

import numpy as np
import pytest

from fan_mm.evaluation.bootstrap import (
    PerImage,
    accuracy,
    interval,
    mean_iou,
    resample_counts,
)
from fan_mm.evaluation.calibration.measures import SIZE

A, B = ('clean', 0), ('fog', 3)


def all_counts(*args, **kwargs):
    return np.concatenate(list(resample_counts(*args, **kwargs)))


def test_every_resample_has_as_many_images():
    counts = all_counts(7, 50)
    assert counts.shape == (50, 7)
    assert (counts.sum(axis=1) == 7).all()
    assert (counts != counts[0]).any()


def test_draws_depend_on_seed_and_number_of_images_alone(monkeypatch):
    whole = all_counts(7, 50, seed=3)
    monkeypatch.setattr('fan_mm.evaluation.bootstrap._CHUNK', 21)  # three rows at a time
    assert np.array_equal(all_counts(7, 50, seed=3), whole)
    assert not np.array_equal(all_counts(7, 50, seed=4), whole)


def test_mean_iou_by_hand():
    # class 0: 3 of 4, class 1: 1 of 2, class 2 occurs nowhere
    sums = np.array([[[3, 1, 0], [4, 2, 0]]])
    assert mean_iou(sums.astype(float), 1) == pytest.approx(62.5)


def test_score_is_that_of_all_images():
    rng = np.random.default_rng(0)
    union = rng.integers(1, 100, (5, 1, 3))
    statistics = np.concatenate([rng.integers(0, union + 1), union], axis=1)
    per_image = PerImage('iou', np.array(list('abcde')), {A: statistics})
    expected = 100 * (statistics[:, 0].sum(0) / statistics[:, 1].sum(0)).mean()
    assert per_image.score(A) == pytest.approx(expected)


def test_resampled_scores_equal_those_of_repeated_images():
    rng = np.random.default_rng(0)
    union = rng.integers(0, 100, (6, 1, 4))
    cells = {
        cell: np.concatenate([rng.integers(0, union + 1), union], axis=1).astype(np.uint32)
        for cell in (A, B)
    }
    per_image = PerImage('iou', np.arange(6).astype(str), cells)
    drawn = per_image.resampled(20, seed=1)
    for row, counts in enumerate(all_counts(6, 20, seed=1).astype(int)):
        chosen = np.repeat(np.arange(6), counts)
        for cell in (A, B):
            sums = cells[cell][chosen].sum(axis=0, dtype=float)
            assert drawn[cell][row] == pytest.approx(mean_iou(sums[None], 6)[0], rel=1e-12)


def test_cells_share_their_draws():
    right = np.random.default_rng(0).random((200, 1, 1)) < 0.7
    per_image = PerImage('accuracy', np.arange(200).astype(str), {A: right, B: ~right})
    drawn = per_image.resampled(100)
    assert np.allclose(drawn[A] + drawn[B], 100)  # what is gained in one is lost in the other
    assert drawn[A].std() > 1


def test_cells_are_resampled_one_by_one():
    cells = {('fog', i): np.ones((50, 2, 1000), np.uint8) for i in range(20)}
    per_image = PerImage('iou', np.arange(50).astype(str), cells)
    tracemalloc.start()
    try:
        per_image.resampled(10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * sum(s.size for s in cells.values()) / 4  # of all of them as float64


def test_interval_of_an_accuracy_is_the_binomial_one():
    images, share = 2000, 0.7
    right = (np.arange(images) < share * images)[:, None, None]
    per_image = PerImage('accuracy', np.arange(images).astype(str), {A: right})
    low, high = interval(per_image.resampled(4000)[A])
    half = 1.96 * 100 * np.sqrt(share * (1 - share) / images)
    assert low == pytest.approx(70 - half, abs=0.2)
    assert high == pytest.approx(70 + half, abs=0.2)


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        right = (rng.random(300) < 0.6)[:, None, None]
        drawn = PerImage('accuracy', np.arange(300).astype(str), {A: right}).resampled(300, trial)
        low, high = interval(drawn[A])
        hits += low <= 60 <= high
    assert 0.90 <= hits / 200 <= 0.99


def test_no_interval_where_a_resample_is_undefined():
    assert interval(np.array([1.0, np.nan])) is None


def test_accuracy_counts():
    assert accuracy(np.array([[[3.0]], [[4.0]]]), 4).tolist() == [75.0, 100.0]


@pytest.mark.parametrize(
    ('kind', 'statistics'),
    [
        ('iou', np.array([[[3, 1], [4, 2]]])),
        ('accuracy', np.ones((1, 1, 1))),
        ('calibration', np.ones((1, 2, SIZE), np.uint8)),
    ],
)
def test_one_image_has_no_interval(kind, statistics):
    """All its resamples are itself, which is not certainty."""
    drawn = PerImage(kind, np.array(['a']), {A: statistics}).resampled(50)[A]
    assert len(drawn) == 50 and np.isnan(drawn).all()
    twice = PerImage(kind, np.array(['a', 'b']), {A: np.concatenate([statistics] * 2)})
    assert np.isfinite(twice.resampled(50)[A]).all()
