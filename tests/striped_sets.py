"""Sets of real conditions in miniature, of upright stripes, for `stripe_model`: the worse, the noisier."""

import cv2
import numpy as np


def stripes(rng, noise, classes=range(19), shape=(64, 128)):
    """A picture (BGR) of stripes of single classes, and its label map of trainIds."""
    colours = np.random.default_rng(0).integers(0, 256, (19, 3))
    label = np.repeat(rng.choice(classes, 8), shape[1] // 8)[None].repeat(shape[0], axis=0)
    label = label.astype(np.uint8)
    image = colours[label] + rng.normal(0, noise, (*shape, 3))
    label[:4] = 255
    return image.clip(0, 255).astype(np.uint8), label


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), array)


def write_acdc(root, noises, split='val', count=3, seed=0):
    """ACDC as its zip files unpack; noises: condition -> strength."""
    rng = np.random.default_rng(seed)
    first = 1000 * ('val', 'train', 'test').index(split)  # a frame is in one split
    for condition, noise in noises.items():
        for index in range(first, first + count):
            image, label = stripes(rng, noise)
            stem = f'GOPR{sorted(noises).index(condition):04d}_frame_{index:06d}'
            below = f'{condition}/{split}/{stem[:8]}/{stem}'
            write(root / f'rgb_anon/{below}_rgb_anon.png', image)
            write(root / f'gt/{below}_gt_labelTrainIds.png', label)
    return root


def write_dark_zurich(root, noise=60, count=3):
    """Dark Zurich's val split."""
    rng = np.random.default_rng(1)
    for index in range(count):
        image, label = stripes(rng, noise)
        stem = f'val/night/GOPR0356/GOPR0356_frame_{index:06d}'
        write(root / f'rgb_anon/{stem}_rgb_anon.png', image)
        write(root / f'gt/{stem}_gt_labelTrainIds.png', label)
    return root


def write_foggy(root, cityscapes, betas=('0.005', '0.02')):
    """Foggy Cityscapes' val split, made of a Cityscapes in miniature."""
    rng = np.random.default_rng(2)
    for path in sorted(cityscapes.glob('leftImg8bit/val/*/*.png')):
        for beta in betas:
            image = cv2.imread(str(path)) + rng.normal(0, 2000 * float(beta), (64, 128, 3))
            name = path.name.replace('.png', f'_foggy_beta_{beta}.png')
            image = image.clip(0, 255).astype(np.uint8)
            write(root / 'leftImg8bit_foggy/val' / path.parent.name / name, image)
    return root
