"""A model that predicts by other scores than a graph would give is not exported."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from torch import nn

from fan_mm.deploy import Network
from fan_mm.deploy.verification import Verification
from fan_mm.errors import InputError


class Model(BaseModel):
    """A classifier or segmenter whose predictions a test chooses."""

    def __init__(self, task, predict, **head):
        super().__init__()
        self.task, self.made = task, predict
        self.backbone = nn.Conv2d(3, head.pop('channels', 4), 3, padding=1)
        self.head = self.decode_head = nn.Identity()
        self.head.align_corners = False
        for name, value in head.items():
            setattr(self.head, name, value)
        self.test_cfg = dict(mode='slide')

    def extract_feat(self, images):
        features = self.backbone(images)
        return features.mean((2, 3)) if self.task == 'classification' else features

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if mode == 'tensor':
            return self.extract_feat(inputs)
        assert self.test_cfg['mode'] == 'whole'  # the image as the graph takes it
        return [self.made(self.extract_feat(inputs)[0])]


def scored(scores):
    return SimpleNamespace(pred_score=scores)


def segmented(scores, labels):
    return SimpleNamespace(
        seg_logits=SimpleNamespace(data=scores), pred_sem_seg=SimpleNamespace(data=labels[None])
    )


def binary(scores, threshold):
    return segmented(scores.sigmoid(), (scores.sigmoid() > threshold)[0].float())


CASES = [
    ('classification', lambda s: scored(s.softmax(0)), {}, True),
    ('classification', lambda s: scored(s), {}, False),  # a regression
    ('classification', lambda s: scored((2 * s).softmax(0)), {}, False),  # with a temperature
    ('classification', lambda s: SimpleNamespace(), {}, False),
    ('classification', lambda s: SimpleNamespace(pred_label=s.argmax(0)), {}, True),
    ('classification', lambda s: SimpleNamespace(pred_label=s.argmin(0)), {}, False),
    ('segmentation', lambda s: segmented(s, s.argmax(0)), {}, True),
    ('segmentation', lambda s: segmented(s, s.argmin(0)), {}, False),
    ('segmentation', lambda s: segmented(s.flip(0), s.flip(0).argmax(0)), {}, False),
    ('segmentation', lambda s: SimpleNamespace(pred_depth_map=s), {}, False),
    ('segmentation', lambda s: binary(s, 0.3), dict(channels=1), True),  # mmseg's own threshold
    ('segmentation', lambda s: binary(s, 0.5), dict(channels=1, threshold=0.5), True),
    ('segmentation', lambda s: binary(s, 0.0), dict(channels=1, threshold=0.0), True),
    ('segmentation', lambda s: binary(s, 0.5), dict(channels=1, threshold=0.6), False),
    ('segmentation', lambda s: 1 / 0, {}, True),  # it predicts for its own samples only
]


@pytest.mark.parametrize(('task', 'predict', 'head', 'exported'), CASES)
def test_scores_are_those_that_the_model_predicts_by(task, predict, head, exported):
    torch.manual_seed(0)
    model = Model(task, predict, **head)
    if exported:
        Network(model, task)
    else:
        with pytest.raises(InputError, match='Model does not predict classes by the scores that'):
            Network(model, task)
    assert model.test_cfg == dict(mode='slide')


@pytest.mark.parametrize(('share', 'text'), [(1.0, '100.000 %'), (1 - 1e-7, '99.999 %')])
def test_a_class_that_differs_is_not_rounded_away(share, text):
    assert f' {text} of the classes agree' in str(Verification(((1, 4, 4),), 0.0, share, 1.0, True))
