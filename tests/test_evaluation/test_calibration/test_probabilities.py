"""What is said of a model's probabilities, and which models have none."""

import re

import pytest
from mmengine.model import BaseTTAModel
from torch import nn

from fan_mm.errors import InputError
from fan_mm.evaluation.calibration.probabilities import probabilities_of


class Loss(nn.Module):
    use_sigmoid = True


class Head(nn.Module):
    def __init__(self, channels=19, loss=None):
        super().__init__()
        self.out_channels = channels
        self.loss_decode = loss or nn.Identity()


class Mask2FormerHead(Head):
    pass


class Segmenter(nn.Module):
    def __init__(self, *heads, mode='whole'):
        super().__init__()
        self.decode_head = heads[0] if len(heads) == 1 else nn.ModuleList(heads)
        self.test_cfg = dict(mode=mode)


class Averaged(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        return data_samples_list


class SegTTAModel(Averaged):
    def merge_preds(self, data_samples_list):
        return data_samples_list


class MyTTA(SegTTAModel):
    pass


def wrapped(kind, module):
    model = object.__new__(kind)
    nn.Module.__init__(model)
    model.module = module
    return model


@pytest.mark.parametrize(
    ('model', 'task', 'words'),
    [
        (Segmenter(Head()), 'segmentation', 'softmax of the logits, at the size'),
        (Segmenter(Head()), 'other', 'softmax of the logits'),
        (Segmenter(Head(1)), 'segmentation', 'sigmoid of the single logit'),
        (Segmenter(Head(), mode='slide'), 'segmentation', 'averaged over sliding windows'),
        (Segmenter(Head(1), Head(1), Head(7)), 'segmentation', 'softmax'),
        (Segmenter(Head(7, Loss())), 'segmentation', 'trained with one sigmoid per class'),
        (Segmenter(Head(1, Loss())), 'segmentation', 'sigmoid of the single logit, at'),
        (nn.Linear(2, 2), 'classification', "the model's pred_score"),
        (wrapped(Averaged, nn.Linear(2, 2)), 'classification', 'merged over test-time'),
        (wrapped(MyTTA, Segmenter(Head())), 'segmentation', 'softmax .* merged over test-time'),
    ],
)
def test_what_they_are(model, task, words):
    assert re.search(words, probabilities_of(model, task))


@pytest.mark.parametrize(
    ('model', 'task', 'line'),
    [
        (nn.Identity(), 'detection', 'not for detection: leave --calibration out'),
        (nn.Identity(), 'panoptic segmentation', 'not for panoptic segmentation'),
        (nn.Identity(), 'depth estimation', 'not for depth'),
        (
            Segmenter(Mask2FormerHead()),
            'segmentation',
            'Mask2FormerHead returns class scores summed',
        ),
        (
            wrapped(MyTTA, Segmenter(Head(1))),
            'segmentation',
            'MyTTA applies the sigmoid of one channel',
        ),
    ],
)
def test_models_without(model, task, line):
    with pytest.raises(InputError, match=line):
        probabilities_of(model, task)
