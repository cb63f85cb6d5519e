"""Images and masks of two splits, the config that reads them, and what is said of it."""

import cv2
import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import TRANSFORMS
from PIL import Image

from fan_mm.engine import check_config
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError

CLASSES = ('bg', 'fg')


@TRANSFORMS.register_module()
class ReadsLabelsItself(BaseTransform):
    """Stands for whatever makes class indices of files."""

    def transform(self, results):
        raise NotImplementedError


@TRANSFORMS.register_module()
class MapsLabels(BaseTransform):
    """Stands for whatever makes other class indices of those that were read."""

    def transform(self, results):
        raise NotImplementedError


class Folder:
    """Pictures and masks of two splits, and the config that reads them."""

    def __init__(self, root, suffix='.png', count=4):
        self.root, self.suffix, self.count = root, suffix, count
        picture = np.zeros((32, 64, 3), np.uint8)
        for split in ('train', 'val'):
            (root / 'img' / split).mkdir(parents=True)
            (root / 'ann' / split).mkdir(parents=True)
            for index in range(count):
                cv2.imwrite(str(root / f'img/{split}/{index:03}.png'), picture)

    def labels(self, split):
        return [self.root / f'ann/{split}/{i:03}{self.suffix}' for i in range(self.count)]

    def write(self, mask, splits=('train', 'val'), mode=None):
        for split in splits:
            for path in self.labels(split):
                image = Image.fromarray(mask)
                if mode == 'P':
                    image = image.convert('L')
                    image.putpalette([index * 7 % 256 for index in range(768)])
                elif mode:
                    image = image.convert(mode)
                image.save(path)

    def config(self, load=None, head=(), evaluator=(), **dataset):
        pipeline = [
            dict(type='LoadImageFromFile'),
            *(load or [dict(type='LoadAnnotations')]),
            dict(type='PackSegInputs'),
        ]
        cfg = dict(
            default_scope='mmseg',
            load_from=None,
            model=dict(
                type='EncoderDecoder',
                backbone=dict(type='ResNet'),
                decode_head=dict(dict(type='FCNHead', num_classes=2), **dict(head)),
            ),
            val_evaluator=dict(type='IoUMetric', **dict(evaluator)),
            test_evaluator=dict(type='IoUMetric', **dict(evaluator)),
        )
        for split in ('train', 'val', 'test'):
            folder = 'train' if split == 'train' else 'val'
            data = dict(
                type='BaseSegDataset',
                data_root=str(self.root),
                data_prefix=dict(img_path=f'img/{folder}', seg_map_path=f'ann/{folder}'),
                img_suffix='.png',
                seg_map_suffix=self.suffix,
                metainfo=dict(classes=CLASSES),
                pipeline=pipeline,
            )
            cfg[f'{split}_dataloader'] = dict(batch_size=1, dataset=data | dataset)
        cfg = Config(cfg)
        register_task_library(cfg)
        return cfg


def halves(left, right, dtype=np.uint8):
    mask = np.full((32, 64), left, dtype)
    mask[:, 32:] = right
    return mask


def said(cfg, training=True):
    """What stands in the log, without the line about random weights."""
    return ' '.join(note for note in check_config(cfg, training) if 'random weights' not in note)


def complaint(cfg, training=True):
    with pytest.raises(InputError) as error:
        check_config(cfg, training)
    assert '\n' not in str(error.value)
    return str(error.value)
