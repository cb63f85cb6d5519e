"""A sweep goes on where its data and copies lie elsewhere, and not where a picture has changed."""

import shutil
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from rich.console import Console

import fan_mm
from fan_mm.datasets.corrupted.generate import generate
from fan_mm.datasets.scenes import write_cityscapes
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError
from fan_mm.jobs.robustness import evaluate_robustness

pytest.importorskip('mmseg')
CONFIG = Path(fan_mm.__file__).parents[1] / 'configs/fan_hybrid_toy_cityscapes.py'


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    cfg = Config.fromfile(CONFIG)
    register_task_library(cfg)
    with DefaultScope.overwrite_default_scope('mmseg'):
        state = MODELS.build(cfg.model).state_dict()
    path = tmp_path_factory.mktemp('model') / 'model.pth'
    torch.save(dict(state_dict=state), path)
    return str(path)


@pytest.fixture
def sweep(checkpoint, tmp_path):
    def run(root, severities, **options):
        cfg = Config.fromfile(CONFIG)
        cfg.test_dataloader.dataset.data_root = str(root)
        return evaluate_robustness(
            cfg,
            checkpoint,
            tmp_path / 'work',
            corruptions=['fog'],
            severities=severities,
            **options,
        )

    return run


def stored(tmp_path):
    return (tmp_path / 'work/cells/fog_1.json').stat().st_mtime_ns


def change(path):
    """Another file of equal length, which readers take all the same."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # of the checksum of nothing
    path.write_bytes(data)


def test_data_that_moved_and_labels_that_changed(tmp_path, sweep):
    write_cityscapes(tmp_path / 'job1', (64, 128), 1, 2, jobs=1)
    sweep(tmp_path / 'job1', [1])
    before = stored(tmp_path)
    (tmp_path / 'job1').rename(tmp_path / 'job2')
    results = sweep(tmp_path / 'job2', [1, 2])
    assert [cell['status'] for cell in results['cells']] == ['done'] * 3
    assert stored(tmp_path) == before
    for kind in ('leftImg8bit', 'gtFine'):
        folder = tmp_path / 'job2' / kind
        shutil.copytree(folder, tmp_path / 'kept')
        change(sorted(folder.glob('val/*/*.png'))[-1])
        with pytest.raises(InputError, match='holds a sweep with another dataset'):
            sweep(tmp_path / 'job2', [1, 2])
        shutil.rmtree(folder)
        (tmp_path / 'kept').rename(folder)
    sweep(tmp_path / 'job2', [1, 2])


@pytest.mark.parametrize('manifest', [True, False])
def test_copies_that_moved_grew_and_changed(tmp_path, sweep, manifest):
    write_cityscapes(tmp_path / 'data', (64, 128), 1, 2, jobs=1)

    def copies(folder, severities):
        quiet = Console(quiet=True)
        generate(
            tmp_path / 'data', folder, 'cityscapes', {'fog': severities}, jobs=1, console=quiet
        )
        return folder

    def corrupted(folder):
        if not manifest:
            (folder / 'manifest.json').rename(tmp_path / 'manifest.json')
        return dict(corrupted_root=str(folder))

    first = copies(tmp_path / 'c1', (1,))
    sweep(tmp_path / 'data', [1], **corrupted(first))
    before = stored(tmp_path)
    moved = corrupted(copies(tmp_path / 'c2', (1, 2)))
    sweep(tmp_path / 'data', [1, 2], **moved)
    assert stored(tmp_path) == before
    edited = sorted((tmp_path / 'c2/fog/1').glob('*/*.png'))[0]
    edited.write_bytes(edited.read_bytes()[:-1] + b'x')
    with pytest.raises(InputError, match='another copies of fog/1'):
        sweep(tmp_path / 'data', [1, 2], **moved)
    cv2.imwrite(str(edited), cv2.imread(str(edited))[::2])
    with pytest.raises(InputError, match=r'128x32 pixels and .* 128x64 as the config loads it'):
        sweep(tmp_path / 'data', [1, 2], **moved)
