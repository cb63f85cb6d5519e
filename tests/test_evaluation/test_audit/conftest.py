"""Real sweeps of three tasks: fitted models, rendered pictures, the data sets of mmseg, mmdet and mmpretrain."""

import json
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
from fitted_models import BoxClassifier, PictureClassifier, PixelClassifier
from mmengine.config import Config
from mmengine.registry import init_default_scope
from striped_sets import stripes, write

from fan_mm.datasets.scenes import (
    COCO_CLASSES,
    IMAGENET_CLASSES,
    write_cityscapes,
    write_coco,
    write_imagenet,
)
from fan_mm.engine.runtime import register_task_library
from fan_mm.evaluation import RobustnessSweep


@dataclass
class Task:
    """A data set of a task as configs, and a model that learnt from its training pictures."""

    scope: str
    learn: type
    classes: int
    training: list  # of pictures and truths
    datasets: dict  # name -> config of its val split
    evaluator: object  # config, of the data set's
    evaluated: list = ()  # examples from 'small', for models that know them by heart

    def model(self, seed=0, examples=None, **options):
        """A model that has learnt; of other examples than those for training, if some are given."""
        pictures, truths = zip(*(examples or self.training), strict=True)
        return self.learn(pictures, truths, self.classes, seed=seed, **options)

    def sweep(self, name, model, batch_size=1, workers=0, **options):
        pytest.importorskip(self.scope)
        register_task_library(Config(dict(default_scope=self.scope)))
        init_default_scope(self.scope)
        dataset = self.datasets[name]
        loader = dict(
            batch_size=batch_size,
            num_workers=workers,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dataset,
        )
        return RobustnessSweep(model, loader, self.evaluator(dataset), **options)


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def striped(root, noise):
    """A Cityscapes of stripes for validation, with `noise`."""
    rng = np.random.default_rng(noise)
    for number in range(6):
        image, label = stripes(rng, noise)
        name = f'val/town/town_{number:06d}_000019'
        write(root / f'leftImg8bit/{name}_leftImg8bit.png', image)
        write(root / f'gtFine/{name}_gtFine_labelTrainIds.png', label)
    return root


@pytest.fixture(scope='session')
def streets(tmp_path_factory):
    root = tmp_path_factory.mktemp('streets')
    write_cityscapes(root / 'small', (64, 128), 14, 6, seed=1, jobs=1)
    write_cityscapes(root / 'large', (96, 160), 1, 5, seed=2, jobs=1)
    pipeline = [dict(type=t) for t in ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs')]
    resized = [pipeline[0], dict(type='Resize', scale=(128, 64)), *pipeline[1:]]

    def dataset(name, pipeline=pipeline):
        prefix = dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val')
        return dict(
            type='CityscapesDataset',
            data_root=str(root / name),
            data_prefix=prefix,
            pipeline=pipeline,
        )

    training = [
        (read(path), read(str(path).replace('leftImg8bit', 'gtFine')[:-4] + '_labelTrainIds.png'))
        for path in sorted((root / 'small').glob('leftImg8bit/train/*/*.png'))
    ]
    return Task(
        'mmseg',
        PixelClassifier,
        19,
        training,
        {
            'small': dataset('small'),
            'large': dataset('large'),
            'resized': dataset('large', resized),
        },
        lambda _: dict(type='IoUMetric', iou_metrics=['mIoU']),
    )


@pytest.fixture(scope='session')
def upright(tmp_path_factory, streets):
    """Stripes with noise of three strengths."""
    root = tmp_path_factory.mktemp('stripes')
    training = [stripes(np.random.default_rng(s), 20) for s in range(16)]
    datasets = {
        str(noise): streets.datasets['small']
        | dict(data_root=str(striped(root / str(noise), noise)))
        for noise in (5, 15, 30)
    }
    return replace(streets, training=training, datasets=datasets)


def objects(root, split):
    """Pictures of a COCO, each with the boxes and classes of its objects."""
    document = json.loads((root / f'annotations/instances_{split}2017.json').read_text())
    for image in document['images']:
        found = [
            a for a in document['annotations'] if a['image_id'] == image['id'] and not a['iscrowd']
        ]
        boxes = np.array([a['bbox'] for a in found], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        labels = np.array([a['category_id'] - 1 for a in found], int)
        yield read(root / f'{split}2017' / image['file_name']), (boxes, labels)


@pytest.fixture(scope='session')
def things(tmp_path_factory):
    root = tmp_path_factory.mktemp('things')
    write_coco(root / 'small', (96, 128), 40, 12, seed=1, jobs=1)
    write_coco(root / 'large', (128, 160), 1, 14, seed=2, jobs=1)
    datasets = {
        name: dict(
            type='CocoDataset',
            data_root=str(root / name),
            ann_file='annotations/instances_val2017.json',
            data_prefix=dict(img='val2017'),
            metainfo=dict(classes=COCO_CLASSES),
            test_mode=True,
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True),
                dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape')),
            ],
        )
        for name in ('small', 'large')
    }

    def evaluator(dataset):
        file = f'{dataset["data_root"]}/{dataset["ann_file"]}'
        return dict(type='CocoMetric', metric=['bbox'], ann_file=file)

    training, evaluated = (list(objects(root / 'small', split)) for split in ('train', 'val'))
    classes = len(COCO_CLASSES) + 1
    return Task('mmdet', BoxClassifier, classes, training, datasets, evaluator, evaluated)


@pytest.fixture(scope='session')
def single(tmp_path_factory):
    """One thing on each picture."""
    root = tmp_path_factory.mktemp('single')
    write_imagenet(root / 'small', (64, 64), 200, 40, seed=1, jobs=1)
    write_imagenet(root / 'large', (80, 96), 10, 50, seed=2, jobs=1)
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    cropped = [
        pipeline[0],
        dict(type='ResizeEdge', scale=72, edge='short'),
        dict(type='CenterCrop', crop_size=64),
        pipeline[1],
    ]
    classes = dict(metainfo=dict(classes=list(IMAGENET_CLASSES)))
    datasets = {
        'small': dict(
            type='ImageNet',
            data_root=str(root / 'small'),
            split='val',
            pipeline=pipeline,
            **classes,
        ),
        'large': dict(
            type='ImageNet', data_root=str(root / 'large'), split='val', pipeline=cropped, **classes
        ),
        'folder': dict(
            type='CustomDataset', data_root=str(root / 'large' / 'val'), pipeline=cropped
        ),
    }
    training, evaluated = (
        [
            (read(path), IMAGENET_CLASSES.index(path.parent.name))
            for path in sorted((root / 'small').glob(f'{split}/*/*.jpg'))
        ]
        for split in ('train', 'val')
    )

    def evaluator(_):
        return dict(type='Accuracy')

    return Task('mmpretrain', PictureClassifier, 10, training, datasets, evaluator, evaluated)
