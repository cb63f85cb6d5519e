"""Mixing as the official collating does it, to the pixel."""

import numpy as np
import official
import pytest
import torch

from fan_mm.errors import InputError
from fan_mm.models.mixing import MixupCutmix


@pytest.mark.parametrize('seed', range(4))
def test_batches_are_the_goldens(seed):
    """Golden: seeds of both kinds; the official images are rounded, ours stay what they are."""
    arrays = official.golden('stl_losses')
    rng = np.random.default_rng(5)
    students = []
    for _ in range(4):
        rng.integers(0, 256, (3, 16, 16), dtype=np.uint8)  # the teacher's
        students.append(rng.integers(0, 256, (3, 16, 16), dtype=np.uint8))
    images = torch.from_numpy(np.stack(students)).float()
    before = images.clone()
    np.random.seed(seed)
    mixed, targets = MixupCutmix()(images, torch.eye(10, dtype=torch.long)[:4])
    assert torch.equal(images, before)
    golden = arrays[f'collate_seed{seed}/student'].astype(float)
    assert np.abs(mixed.numpy() - golden).max() <= 0.5001
    assert np.allclose(0.9 * targets + 0.01, arrays[f'collate_seed{seed}/target'], atol=1e-6)


def test_both_kinds_occur_and_targets_follow_the_area():
    np.random.seed(0)
    images = torch.stack([torch.zeros(3, 20, 44), torch.ones(3, 20, 44)])
    cut = 0
    for _ in range(200):
        mixed, targets = MixupCutmix()(images, torch.eye(2))
        assert mixed.mean((1, 2, 3)).tolist() == pytest.approx(targets[:, 1].tolist(), abs=1e-5)
        cut += bool(((mixed == 0) | (mixed == 1)).all())
    assert 70 < cut < 130


def test_a_box_is_as_much_of_the_height_as_of_the_width():
    """The square root of its area, as the paper has it, where no border cuts it."""
    for seed in range(20):
        np.random.seed(seed)
        rows, columns, ratio = MixupCutmix._box((100, 300), 0.96)
        inside = rows.start > 0 and rows.stop < 100 and columns.start > 0 and columns.stop < 300
        if inside:
            assert (rows.stop - rows.start, columns.stop - columns.start) == (20, 60)
            assert ratio == pytest.approx(0.96)
        assert rows.stop - rows.start <= 20 and columns.stop - columns.start <= 60


@pytest.mark.parametrize(
    'options',
    [
        dict(mixup_alpha=0),
        dict(cutmix_alpha=0),
        dict(cutmix_alpha=-1),
        dict(switch_prob=1.1),
        dict(switch_prob=-0.1),
    ],
    ids=str,
)
def test_bad_options_are_refused(options):
    with pytest.raises(InputError, match='positive alphas'):
        MixupCutmix(**options)


@pytest.mark.parametrize('switch_prob', [0, 1])
def test_one_kind_alone(switch_prob):
    images = torch.stack([torch.zeros(3, 20, 44), torch.ones(3, 20, 44)])
    for seed in range(20):
        np.random.seed(seed)
        mixed, _ = MixupCutmix(switch_prob=switch_prob)(images, torch.eye(2))
        assert bool(((mixed == 0) | (mixed == 1)).all()) == switch_prob
