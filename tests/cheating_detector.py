"""A detector that is given the truth and finds a part of it: less in brighter pictures."""

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import InstanceData


@MODELS.register_module()
class CheatingDetector(BaseModel):
    def __init__(self, bbox_head=None, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        for image, sample in zip(inputs, data_samples, strict=True):
            truth = sample.gt_instances
            boxes = getattr(truth.bboxes, 'tensor', truth.bboxes)
            found = torch.arange(len(boxes)) > int(image.float().mean() > 110) - 1
            sample.pred_instances = InstanceData(
                bboxes=boxes[found],
                labels=truth.labels[found],
                scores=torch.linspace(0.9, 0.5, int(found.sum())),
            )
        return data_samples
