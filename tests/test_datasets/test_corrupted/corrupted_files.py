"""Sources of a few small pictures, and runs of the generator on them."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from fan_mm.datasets.corrupted import generate as generator
from fan_mm.datasets.corrupted import worker
from fan_mm.datasets.corrupted.verify import verify

ROOT = Path(__file__).parents[3]

TOOL = ROOT / 'tools' / 'make_corrupted_dataset.py'

# Relative paths below SRC, as the three datasets have them.
NAMES = {
    'cityscapes': 'leftImg8bit/val/{group}/{group}_{index:06d}_000019_leftImg8bit.png',
    'coco': 'val2017/{index:012d}.jpg',
    'imagenet': 'val/{group}/ILSVRC2012_val_{index:08d}.JPEG',
}

CELLS = {'gaussian_noise': (1, 3), 'motion_blur': (2,), 'snow': (5,)}


def make_source(root, layout, count=3, size=(48, 80)):
    """Pictures with large and small structure."""
    rng = np.random.default_rng(0)
    for index in range(count):
        group = ('aachen', 'bonn')[index % 2]
        path = root / NAMES[layout].format(group=group, index=index)
        path.parent.mkdir(parents=True, exist_ok=True)
        small = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
        picture = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC)
        noise = rng.integers(-9, 10, picture.shape)
        cv2.imwrite(str(path), (picture + noise).clip(0, 255).astype(np.uint8))
    return root


def make(source, destination, layout='cityscapes', cells=CELLS, **options):
    options = dict(jobs=1, console=Console(quiet=True)) | options
    return generator.generate(source, destination, layout, cells, **options)


def check(destination):
    return verify(destination, jobs=1, console=Console(quiet=True))


def tree(folder):
    """Every file's bytes, by relative path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob('*')
        if path.is_file()
    }


def pictures(folder):
    return sorted(p for p in folder.rglob('*') if p.suffix.lower() in ('.png', '.jpg', '.jpeg'))


def scene():
    """A picture of which every turn looks different."""
    small = np.zeros((4, 6, 3), np.uint8)
    small[0, :3], small[1:, 0], small[2, 4] = (250, 90, 30), (30, 200, 60), (90, 60, 220)
    return cv2.resize(small, (96, 64), interpolation=cv2.INTER_LINEAR)


class Interrupted(BaseException):
    pass


def stop_after(monkeypatch, count, error):
    """Let the count-th image write fail."""
    done = []

    def write_whole(path, content):
        done.append(path)
        if len(done) > count:
            raise error
        real(path, content)

    real = worker.write_whole
    monkeypatch.setattr(worker, 'write_whole', write_whole)
