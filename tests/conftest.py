"""Fixtures that several test folders use."""

import cv2
import numpy as np
import pytest


@pytest.fixture
def tiny_cityscapes(tmp_path):
    """A learnable dataset of 64x128 pictures in the Cityscapes layout: 4 for training, 3 for val.

    Upright stripes, each of one class (a trainId) with a colour of its own, and some ignored pixels.
    """
    root = tmp_path / 'cityscapes'
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (19, 3))
    for split, count in (('train', 4), ('val', 3)):
        for index in range(count):
            label = np.repeat(rng.integers(0, 19, 8), 16)[None].repeat(64, axis=0).astype(np.uint8)
            image = colours[label] + rng.normal(0, 10, (64, 128, 3))
            label[:4] = 255
            stem = f'town_{index:06d}_000019'
            for folder, suffix, array in (
                ('leftImg8bit', 'leftImg8bit', image.clip(0, 255).astype(np.uint8)),
                ('gtFine', 'gtFine_labelTrainIds', label),
            ):
                path = root / folder / split / 'town' / f'{stem}_{suffix}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), array)
    return root
