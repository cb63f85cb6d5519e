"""A model whose backbone is none of ours, and its features as a network to export."""

import torch
from mmengine.model import BaseModel

from fan_mm.deploy import Network


class Plain(BaseModel):
    """A model with a backbone that is none of ours."""

    def __init__(self, head=None):
        super().__init__()
        self.backbone = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.decode_head = head

    def extract_feat(self, images):
        return (self.backbone(images),)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.extract_feat(inputs)


class Queries(torch.nn.Module):
    def forward(self, features):
        return features[0], features[0]


def features(least=1, whole=1):
    model = Plain(Queries())

    def extract(images):
        if min(images.shape[2:]) < least:
            raise ValueError('too small')
        if any(side % whole for side in images.shape[2:]):
            raise ValueError(f'no multiple of {whole}')
        return (model.backbone(images),)

    model.extract_feat = extract
    return Network(model, 'detection', part='features')
