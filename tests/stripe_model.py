"""A segmentor for `tiny_cityscapes` that needs no training: each pixel has the nearest colour's class.

Its colours are a buffer, so that a checkpoint decides what it predicts. It can be slow, to be killed
in time.
"""

import time

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import PixelData

STRIPE_CONFIG = """
default_scope = 'mmseg'
custom_imports = dict(imports=['fan_mm', 'stripe_model'], allow_failed_imports=False)
model = dict(type='StripeModel')
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CityscapesDataset',
        data_root='{root}',
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
    ),
)
test_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_cfg = dict(type='TestLoop')
"""


def stripe_colours() -> torch.Tensor:
    """BGR colours (19, 3) of the fixture's classes."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (19, 3))).float()


@MODELS.register_module()
class StripeModel(BaseModel):
    def __init__(self, delay=0.0, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.delay = delay
        self.register_buffer('colours', stripe_colours())
        self.weight = torch.nn.Parameter(torch.zeros(1))  # DistributedDataParallel wants one
        self.seen = []  # cells and images, in order

    def forward(self, inputs, data_samples=None, mode='tensor'):
        for image, sample in zip(inputs, data_samples, strict=True):
            self.seen.append(sample.img_path)
            time.sleep(self.delay)
            pixels = image.permute(1, 2, 0).float()
            distance = torch.cdist(pixels.reshape(-1, 3), self.colours)
            labels = distance.argmin(dim=1).reshape(1, *pixels.shape[:2])
            sample.pred_sem_seg = PixelData(data=labels)
        return data_samples


@MODELS.register_module()
class SoftStripes(StripeModel):
    """Gives logits, too: the distances of colours, the more confident the greater the sharpness."""

    def __init__(self, sharpness=0.1, shift=0.0, **options):
        super().__init__(**options)
        self.sharpness = sharpness
        self.colours += shift

    def forward(self, inputs, data_samples=None, mode='tensor'):
        super().forward(inputs, data_samples, mode)
        for image, sample in zip(inputs, data_samples, strict=True):
            pixels = image.flatten(1).T.float()
            logits = -self.sharpness * torch.cdist(pixels, self.colours).T
            logits = logits.view(19, *image.shape[1:])
            sample.seg_logits = PixelData(data=logits)
            sample.pred_sem_seg = PixelData(data=logits.argmax(0, keepdim=True))
        return data_samples
