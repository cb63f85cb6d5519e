"""The toy ImageNet: one thing on each picture, read by mmpretrain's own dataset."""

import subprocess

import cv2
import numpy as np
import pytest
import warm_python

from fan_mm.datasets.scenes import IMAGENET_CLASSES, render_thing, write_imagenet
from fan_mm.errors import InputError


def test_same_arguments_same_bytes():
    assert np.array_equal(render_thing(64, 80, 3, 7), render_thing(64, 80, 3, 7))
    image = render_thing(64, 80, 3, 7)
    assert image.shape == (64, 80, 3) and image.dtype == np.uint8
    for other in (render_thing(64, 80, 3, 17), render_thing(64, 80, 4, 7)):
        assert (image != other).mean() > 0.5


@pytest.mark.parametrize('label', range(10), ids=IMAGENET_CLASSES)
def test_the_thing_is_there_and_large(label, monkeypatch):
    """The same picture without it is another one."""
    from fan_mm.datasets.scenes import imagenet

    pictures = [render_thing(96, 96, 0, label + 10 * k).astype(int) for k in range(6)]
    make, tall, turn = imagenet._THINGS[IMAGENET_CLASSES[label]]

    def nothing(rng, frame):
        prop = make(rng, frame)
        return type(prop)(prop.low, prop.high, lambda painter: None, prop.hull)

    monkeypatch.setitem(imagenet._THINGS, IMAGENET_CLASSES[label], (nothing, tall, turn))
    empty = [render_thing(96, 96, 0, label + 10 * k).astype(int) for k in range(6)]
    changed = [(abs(a - b).max(-1) > 40).mean() for a, b in zip(pictures, empty, strict=True)]
    assert np.mean(changed) > 0.02 and min(changed) > 0.003


def test_writes_class_folders_and_goes_on_where_it_was(tmp_path, repo_root):
    root = tmp_path / 'toy'
    command = [
        warm_python.python(),
        'tools/make_toy_dataset.py',
        'imagenet',
        str(root),
        '--size',
        '64x64',
    ]
    command += ['--train', '20', '--val', '10', '--jobs', '1']
    done = subprocess.run(command, cwd=repo_root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '30 of them new' in done.stdout
    files = sorted(root.glob('*/*/*.jpg'))
    assert len(files) == 30
    assert {path.parent.name for path in files} == set(IMAGENET_CLASSES)
    bytes_before = files[3].read_bytes()
    files[3].unlink()
    assert write_imagenet(root, (64, 64), 20, 10, jobs=1) == 1
    assert files[3].read_bytes() == bytes_before
    assert cv2.imread(str(files[3])).shape == (64, 64, 3)

    dataset = pytest.importorskip('mmpretrain.datasets').ImageNet(
        data_root=str(root), split='val', metainfo=dict(classes=list(IMAGENET_CLASSES))
    )
    assert len(dataset) == 10 and list(IMAGENET_CLASSES) == dataset.CLASSES
    for label in range(10):
        info = dataset.get_data_info(label)
        assert info['gt_label'] == label and f'/{IMAGENET_CLASSES[label]}/' in info['img_path']


def test_splits_and_classes_are_even(tmp_path):
    with pytest.raises(InputError, match='multiples of 10'):
        write_imagenet(tmp_path / 'toy', train=15, val=10)
    assert not (tmp_path / 'toy').exists()
