"""The picture of token labels: every token where it belongs, coloured by its likeliest class."""

import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import warm_python
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

pytest.importorskip('mmpretrain')

from fan_mm.analysis.token_labels import (
    _PALETTE,
    label_tokens,
    paint_labels,
    paint_token_labels,
)
from fan_mm.datasets.scenes import IMAGENET_CLASSES, write_imagenet
from fan_mm.errors import InputError

ROOT = Path(__file__).parents[2]
NAME = 'fan_hybrid_toy_stl_teacher_imagenet'


@pytest.fixture(scope='module')
def setup(tmp_path_factory):
    folder = tmp_path_factory.mktemp('labels')
    write_imagenet(folder / 'toy', (80, 80), 10, 10, jobs=1)
    cfg = Config.fromfile(ROOT / f'configs/{NAME}.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    torch.manual_seed(0)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'weights.pth')
    return folder, model.eval()


def test_labels_are_the_heads(setup):
    _, model = setup
    images = torch.randn(1, 3, 64, 96)
    labels, confidence = label_tokens(model, images)
    with torch.no_grad():
        _, logits = model.head.logits(model.backbone(images))
    assert labels.shape == confidence.shape == (4, 6)
    assert np.array_equal(labels.ravel(), logits[0].argmax(-1))
    assert np.allclose(confidence.ravel(), logits[0].softmax(-1).amax(-1))


def test_tokens_are_painted_where_they_are():
    image = np.full((64, 64, 3), 128, np.uint8)
    labels = np.zeros((4, 4), int)
    labels[0, 3] = 1
    picture = paint_labels(image, labels, np.linspace(0, 1, 16).reshape(4, 4), ['tree', 'car, van'])
    width = 448
    head = next(y for y in range(60) if (picture[y, :width] == 128).all())
    middle = picture[head : head + width, width + 6 : 2 * width + 6].astype(int)
    tree, car = middle[width // 8, width // 8], middle[width // 8, -width // 8]
    assert (middle[-width // 8, width // 8] == tree).all()
    for seen, colour in ((tree, _PALETTE[0]), (car, _PALETTE[1])):
        assert seen.tolist() == np.rint(128 + 0.55 * (np.array(colour) - 128.0)).tolist()
    first, last = picture[head + 5, 2 * width + 20], picture[head + width - 9, -9]
    assert first.tolist() == [68, 1, 84] and last.tolist() == [253, 231, 37]  # of viridis
    # the legend: the commonest class first, each in the colour that it is painted with
    legend = picture[head + width :]
    columns = [np.flatnonzero((legend == c).all(-1).any(0)) for c in (_PALETTE[0], _PALETTE[1])]
    assert 0 < columns[0].min() < columns[0].max() < columns[1].min()


def test_the_eight_commonest_classes_are_painted():
    image = np.full((448, 448, 3), 128, np.uint8)
    # class i has i + 1 tokens, and the rarest of ten none of the colours
    labels = np.repeat(np.arange(10), np.arange(1, 11))[:55]
    labels = np.append(labels, [9] * 9).reshape(8, 8)
    picture = paint_labels(image, labels, np.ones((8, 8)), [f'c{i}' for i in range(10)])
    head = next(y for y in range(60) if (picture[y, :448] == 128).all())
    middle = picture[head + 28 : head + 448 : 56, 454 + 28 : 454 + 448 : 56].astype(int)
    for place, index in enumerate(range(9, 1, -1)):
        expected = np.rint(128 + 0.55 * (np.array(_PALETTE[place]) - 128.0))
        assert (middle[labels == index] == expected).all()
    assert (middle[labels < 2] == 128).all()


def test_the_tool(setup, repo_root, tmp_path):
    folder, _ = setup
    command = [warm_python.python(), 'tools/show_token_labels.py', str(folder / 'toy/val')]
    command += [f'configs/{NAME}.py', str(folder / 'weights.pth'), '--out', str(tmp_path / 'out')]
    done = subprocess.run([*command, '--count', '3'], capture_output=True, text=True, cwd=repo_root)
    assert done.returncode == 0, done.stderr
    pictures = sorted((tmp_path / 'out').rglob('*.png'))
    assert len(pictures) == 3 and f'3 images in {tmp_path / "out"}' in done.stdout
    assert {path.parent.name for path in pictures} <= set(IMAGENET_CLASSES)
    assert cv2.imread(str(pictures[0])).shape[1] == 3 * 448 + 2 * 6


def test_no_picture_replaces_another_and_none_that_is_broken_stops_the_others(setup, tmp_path):
    folder, _ = setup
    (tmp_path / 'in').mkdir()
    for name in ('x.jpg', 'x.png'):
        cv2.imwrite(str(tmp_path / 'in' / name), np.full((64, 64, 3), (20, 90, 200), np.uint8))
    cfg = Config.fromfile(ROOT / f'configs/{NAME}.py')
    written = paint_token_labels(
        cfg, str(folder / 'weights.pth'), tmp_path / 'in', tmp_path / 'out'
    )
    assert [file.name for file in written] == ['x.jpg.png', 'x.png']
    painted = [cv2.imread(str(file))[-300, 224].astype(int) for file in written]
    assert np.abs(np.subtract(painted, (20, 90, 200))).max() < 4  # as it is in the file, by JPEG
    broken = tmp_path / 'in' / 'broken.png'
    broken.write_bytes(b'no picture')

    def again(path):
        cfg = Config.fromfile(ROOT / f'configs/{NAME}.py')
        return paint_token_labels(cfg, str(folder / 'weights.pth'), path, tmp_path / 'again')

    assert len(again(tmp_path / 'in')) == 2
    with pytest.raises(InputError, match=r'broken\.png cannot be read'):
        again(broken)
    with pytest.raises(InputError, match='at least one sample is needed, not -3'):
        paint_token_labels(cfg, 'unread.pth', tmp_path / 'in', tmp_path / 'none', -3)


def test_a_plain_classifier_labels_no_tokens(setup, tmp_path):
    folder, _ = setup
    cfg = Config.fromfile(ROOT / 'configs/fan_hybrid_toy_imagenet.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'weights.pth')
    with pytest.raises(InputError, match='the model has no token labels'):
        paint_token_labels(cfg, str(tmp_path / 'weights.pth'), folder / 'toy/val', tmp_path / 'out')
