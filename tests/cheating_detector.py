"""A detector that is given the truth and finds a part of it: fewer objects in bright images, half of each mask."""

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import InstanceData


@MODELS.register_module()
class CheatingDetector(BaseModel):
    """Misses the first object of images whose mean is above `bright`; with `masks` it predicts masks, too."""

    def __init__(
        self, bright=110, masks=False, bbox_head=None, data_preprocessor=None, init_cfg=None
    ):
        super().__init__(data_preprocessor, init_cfg)
        self.bright, self.masks = bright, masks
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        for image, sample in zip(inputs, data_samples, strict=True):
            truth = sample.gt_instances
            boxes = getattr(truth.bboxes, 'tensor', truth.bboxes)
            found = torch.arange(len(boxes)) > int(image.float().mean() > self.bright) - 1
            boxes = boxes[found]
            sample.pred_instances = InstanceData(
                bboxes=boxes,
                labels=truth.labels[found],
                scores=torch.linspace(0.9, 0.5, len(boxes)),
            )
            if self.masks:
                sample.pred_instances.masks = left_halves(boxes, image.shape[1:])
        return data_samples


def left_halves(boxes, shape):
    """Masks (n, h, w) of the left halves of boxes."""
    masks = torch.zeros(len(boxes), *shape, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left : (left + right) // 2] = True
    return masks
