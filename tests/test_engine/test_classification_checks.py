"""Mistakes that would end a classifier's training later are one line before it."""

import shutil

import pytest
import torch
from mmengine.config import Config

from fan_mm.datasets.scenes import write_imagenet
from fan_mm.engine import prepare_runtime
from fan_mm.errors import InputError

pytest.importorskip('mmpretrain')


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'toy'
    write_imagenet(root, (64, 64), 10, 10, jobs=1)
    return root


@pytest.fixture
def data(pictures, tmp_path):
    return shutil.copytree(pictures, tmp_path / 'toy')


def config(repo_root, data, name='fan_hybrid_toy_imagenet'):
    cfg = Config.fromfile(repo_root / f'configs/{name}.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(data)
    return cfg


def complaint(cfg, training=True):
    with pytest.raises(InputError) as error:
        prepare_runtime(cfg, training=training)
    assert '\n' not in str(error.value)
    return str(error.value)


def test_good_config_passes_and_asks_for_no_weights(repo_root, data):
    notes = prepare_runtime(config(repo_root, data), training=True)
    assert not any('random weights' in note for note in notes)


def test_class_folders(repo_root, data):
    for path in (data / 'train/bus').iterdir():
        path.unlink()
    message = complaint(config(repo_root, data))
    assert message == f'train_dataloader.dataset: the class folder {data}/train/bus has no images'
    shutil.rmtree(data / 'train/bus')
    assert 'has 9 class folders, but there are 10 classes' in complaint(config(repo_root, data))
    shutil.rmtree(data / 'train')
    (data / 'train').mkdir()
    assert f'no class folders in {data}/train' in complaint(config(repo_root, data))
    (data / 'train').rmdir()
    assert f'no folder {data}/train' in complaint(config(repo_root, data))
    prepare_runtime(config(repo_root, data), training=False)  # the test split is whole


def test_imagenet_has_a_thousand(repo_root, data):
    cfg = config(repo_root, data)
    del cfg.train_dataloader.dataset['metainfo']
    message = complaint(cfg)
    assert 'has 10 class folders, but there are 1000 classes' in message
    assert 'metainfo=dict(classes=[...])' in message
    assert message.endswith('model.head.num_classes=10')


def test_a_head_of_imagenet_22k_for_1k(repo_root, data, tmp_path):
    cfg = config(repo_root, data)
    cfg.load_from = str(tmp_path / 'in22k.pth')
    torch.save(
        dict(state_dict={'backbone.a': torch.zeros(1), 'head.fc.weight': torch.zeros(21841, 4)}),
        cfg.load_from,
    )
    message = complaint(cfg)
    assert 'classifies 21841 classes, the config 10' in message
    assert 'model.backbone.init_cfg.checkpoint=' in message


def test_a_student_without_its_teacher(repo_root, data):
    cfg = config(repo_root, data, 'fan_hybrid_toy_stl_student_imagenet')
    assert 'model.teacher: no such checkpoint: work_dirs/' in complaint(cfg)
    cfg.model.teacher = None
    assert 'an STL student learns from a teacher' in complaint(cfg)
    prepare_runtime(cfg, training=False)  # testing needs none


def test_another_batch_size_is_said(repo_root, data):
    cfg = config(repo_root, data, 'fan_hybrid_s_imagenet')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.metainfo = dict(classes=[str(i) for i in range(10)])
    notes = prepare_runtime(cfg, training=True)
    said = next(note for note in notes if note.startswith('batch size 64'))
    assert 'the learning rate was made for 4096' in said and '--auto-scale-lr' in said
