"""Pictures to calibrate with and those held back: which, and how they fill the network's input."""

import itertools
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from fan_mm.deploy import pictures
from fan_mm.deploy.pictures import TrainingPictures
from fan_mm.errors import InputError


class Images(list):
    """Of two sets, each picture of another grey."""

    def get_data_info(self, index):
        return {'place': self[index]}


@pytest.fixture
def made(monkeypatch):
    """A maker of such pictures of some sizes of the sets, all of one image (3, H, W) in BGR."""

    def make(sizes, count=8, image=None, preprocessing=True):
        ends = np.cumsum([0, *sizes])
        sets = [Images(range(a, b)) for a, b in itertools.pairwise(ends)]
        monkeypatch.setattr(pictures, 'training_datasets', lambda *_: sets)
        monkeypatch.setattr(
            pictures,
            'test_pipeline',
            lambda _: (
                lambda info: (
                    {'inputs': torch.full((3, 8, 8), info['place'])}
                    if image is None
                    else {'inputs': torch.from_numpy(image), 'place': info['place']}
                )
            ),
        )

        def normalise(batch, training):
            assert not training
            return {'inputs': torch.stack(batch['inputs']).float() / 2}

        model = SimpleNamespace(data_preprocessor=normalise)
        network = SimpleNamespace(preprocessing=preprocessing, model=model)
        return TrainingPictures(None, SimpleNamespace(scope='mmseg'), network, count)

    return make


@pytest.mark.parametrize(
    ('sizes', 'count', 'held'),
    [((100,), 8, 4), ((40, 60), 20, 4), ((5, 7), 8, 4), ((12,), 99, 4), ((3,), 8, 1), ((2,), 1, 1)],
)
def test_those_held_back_are_others_and_all_are_spread(made, sizes, count, held):
    found = made(sizes, count)
    total, everything = sum(sizes), sorted(found.held + found.places)
    assert len(found.held) == held and len(found) == min(count, total - held)
    assert len(set(everything)) == len(everything)
    steps = np.diff([*everything, everything[0] + total])
    assert everything[0] == 0 and steps.max() - steps.min() <= 1
    quarters = [place * held // total for place in found.held]
    assert quarters == list(range(held))
    assert [found.get_data_info(place)['place'] for place in everything] == everything
    with pytest.raises(IndexError):
        found.get_data_info(total)


def test_each_try_verifies_with_the_next_of_those_held_back(made):
    found = made((40, 60))
    for seed in range(6):
        greys = found.example(2, 8, 8, seed=seed)[:, 0, 0, 0].tolist()
        assert greys == [found.held[seed % 4], found.held[(seed + 1) % 4]]
    assert [int(image[0, 0, 0, 0]) for image in found.calibration(8, 8)] == found.places


@pytest.mark.parametrize('size', [(4, 6), (10, 12), (20, 24), (20, 20), (6, 18), (15, 7)])
@pytest.mark.parametrize('preprocessing', [True, False])
def test_the_middle_of_a_picture_fills_the_input(made, size, preprocessing):
    image = np.random.default_rng(0).integers(0, 256, (3, 10, 12), np.uint8)
    found = made((2,), image=image, preprocessing=preprocessing).example(1, *size)
    scale = max(1, size[0] / 10, size[1] / 12)
    high, wide = round(10 * scale), round(12 * scale)
    expected = cv2.resize(
        image.transpose(1, 2, 0).astype(np.float32), (wide, high), interpolation=cv2.INTER_LINEAR
    )
    top, left = (high - size[0]) // 2, (wide - size[1]) // 2
    expected = expected[top : top + size[0], left : left + size[1]]
    if preprocessing:  # a picture as it is, red first
        assert found.dtype == torch.uint8
        assert np.abs(found[0].numpy() - expected[..., ::-1]).max() <= 0.51
    else:
        np.testing.assert_allclose(found[0].permute(1, 2, 0), expected / 2, atol=1e-2)


@pytest.mark.parametrize(('sizes', 'count', 'words'), [((1,), 8, 'there are 1'), ((9,), 0, '0:')])
def test_too_few(made, sizes, count, words):
    with pytest.raises(InputError, match=words):
        made(sizes, count)
