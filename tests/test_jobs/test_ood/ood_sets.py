"""ImageNet and its test sets in miniature, and a small classifier for them."""

from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from fan_mm.evaluation.class_names import wordnet_ids
from fan_mm.evaluation.imagenet_subsets import FOLDER_SETS

ROOT = Path(__file__).resolve().parents[3]
CONFIG = """
_base_ = '{base}'
arch = dict(
    _delete_=True, embed_dims=24, depth=1, num_heads=2, stem_depths=(1, 1), stem_channels=(8, 16)
)
data_preprocessor = dict(num_classes=1000)
model = dict(backbone=dict(arch=arch), head=dict(num_classes=1000, in_channels=24))
train_dataloader = dict(dataset=dict(data_root='{data}', metainfo=None))
val_dataloader = dict(batch_size=64, dataset=dict(data_root='{data}', metainfo=None))
test_dataloader = val_dataloader
"""
A = FOLDER_SETS['imagenet_a'].indices()
R = FOLDER_SETS['imagenet_r'].indices()


def pictures(root, folders, size=32):
    """One small random picture per class folder."""
    rng = np.random.default_rng(0)
    for name in folders:
        path = root / name / f'{name}_0.png'
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
    return root


def wordnet(indices):
    return [wordnet_ids()[index] for index in indices]


def model_of(config):
    cfg = Config.fromfile(config)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
