"""Times of steps, of whatever a config has; `test_camvid_configs.py` has one of segmentation."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from fan_mm.errors import InputError
from fan_mm.jobs import run_time
from fan_mm.jobs.run_time import RunTime, measure_run_time


@pytest.fixture
def cfg(tmp_path):
    """A classifier as others write one: no randomness, options of workers, no test split."""
    pytest.importorskip('mmpretrain')
    for index in range(4):
        (tmp_path / f'data/{index % 2}').mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / f'data/{index % 2}/{index}.png'), np.zeros((32, 32, 3)))
    dataset = dict(
        type='CustomDataset',
        data_root=str(tmp_path / 'data'),
        pipeline=[dict(type='LoadImageFromFile', color_type='grayscale'), dict(type='PackInputs')],
    )
    sampler = dict(type='DefaultSampler', shuffle=False)
    head = dict(type='LinearClsHead', num_classes=2, in_channels=4)
    return Config(
        dict(
            default_scope='mmpretrain',
            work_dir=str(tmp_path / 'work'),
            model=dict(
                type='ImageClassifier',
                data_preprocessor=dict(mean=[0.0], std=[255.0]),
                backbone=dict(type='LeNet5', num_classes=4),
                head=head,
            ),
            train_dataloader=dict(
                batch_size=2,
                num_workers=1,
                prefetch_factor=4,
                persistent_workers=True,
                dataset=dataset,
                sampler=sampler,
            ),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            train_cfg=dict(by_epoch=False, max_iters=7),
        )
    )


@pytest.mark.parametrize('tested', [False, True])
def test_without_what_many_configs_lack(cfg, tested):
    if tested:
        cfg.test_dataloader = cfg.train_dataloader
        cfg.test_evaluator, cfg.test_cfg = dict(type='Accuracy'), {}
    found = measure_run_time(cfg)
    assert found.iteration > 0 and found.iterations == 7
    assert (found.image > 0, found.images) == ((True, 4) if tested else (False, 0))


def test_an_image_takes_its_share_of_a_batch(cfg, monkeypatch):
    cfg.test_dataloader = cfg.train_dataloader
    cfg.test_evaluator, cfg.test_cfg = dict(type='Accuracy'), {}
    taken = dict(train_dataloader=(2.0, None, 9), test_dataloader=(8.0, ['output'] * 4, 40))
    monkeypatch.setattr(run_time, '_second', lambda name, *_: taken[name])
    assert measure_run_time(cfg) == RunTime(2.0, 7, 8.0 / 4, 40)


@pytest.mark.parametrize(
    ('most', 'seconds', 'words'),
    [(None, 20 + 3 * 20, '0:01:20'), (4, 20 + 3 * 2, '0:00:26'), (99, 80, '0:01:20')],
)
def test_the_whole_is_the_training_and_every_cell(most, seconds, words):
    found = RunTime(iteration=2.0, iterations=10, image=0.5, images=40)
    assert found.seconds(3, most) == seconds
    line = f'10 iterations of 2.00 s, 0.500 s an image in each of 3 cells: {words}'
    assert found.line(3, most) == line


@pytest.mark.parametrize(
    ('key', 'value', 'line'),
    [
        ('model.head.in_channels', 5, '^train_dataloader: the model fails on a batch: '),
        ('train_dataloader.dataset.pipeline.0.color_type', 'grey', '^CustomDataset cannot load .*png'),
        ('train_dataloader', dict(batch_size=5, drop_last=True), '^train_dataloader gives no batch'),
        ('test_dataloader', [{}], '^test_dataloader is a list of 1'),
        ('train_cfg', dict(by_epoch=True, max_epochs=1), 'only iteration-based training'),
    ],
)  # fmt: skip
def test_what_fails_is_one_line(cfg, key, value, line):
    cfg.merge_from_dict({key: value})
    if key == 'train_cfg':
        cfg.train_cfg.pop('max_iters')
    with pytest.raises(InputError, match=line) as error:
        measure_run_time(cfg)
    assert '\n' not in str(error.value)
