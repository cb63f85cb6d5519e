"""Any classifier, dataset and pipeline that can be tested has a row; others are refused first."""

import pytest
from wrapped_classifier import Wrapped, as_class, attempt_ood

pytest.importorskip('mmpretrain')

from libraries import needs_classes_as_types
from mmpretrain.models import LinearClsHead
from mmpretrain.registry import MODELS as PRETRAIN_MODELS
from mmpretrain.registry import TRANSFORMS

from fan_mm.errors import InputError
from fan_mm.jobs import ood


@PRETRAIN_MODELS.register_module(force=True)
class Tens(Wrapped):
    outputs = 10


@PRETRAIN_MODELS.register_module(force=True)
class Unsure(Wrapped):
    def set(self, sample, score):
        sample.set_pred_label(score.argmax())


@PRETRAIN_MODELS.register_module(force=True)
class Failing(Wrapped):
    def forward(self, inputs, data_samples=None, mode='tensor'):
        raise RuntimeError('the kernel is larger than the input\nand more')


@PRETRAIN_MODELS.register_module(force=True)
class TwoScoresHead(LinearClsHead):
    """Two score tensors, as mmpretrain's ConformerHead."""

    def forward(self, feats):
        scores = super().forward(feats)
        return scores, scores

    def predict(self, feats, data_samples=None):
        return self._get_predictions(sum(self(feats)), data_samples)


def two_scores(cfg):
    cfg.model.head.type = 'TwoScoresHead'


def scoped(cfg):
    cfg.model = dict(type='mmpretrain.Wrapped')


def wrapped_dataset(cfg):
    cfg.test_dataloader.dataset = dict(
        type='RepeatDataset', times=1, dataset=cfg.test_dataloader.dataset
    )


def classes_for_types(cfg):
    for step in cfg.test_dataloader.dataset.pipeline:
        name = step['type']
        step['type'] = f'mmpretrain.{name}' if name == 'ResizeEdge' else TRANSFORMS.get(name)


def torchvision_pipeline(cfg):
    cfg.test_dataloader.dataset.pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='NumpyToPIL', to_rgb=True),
        dict(type='torchvision/Resize', size=72),
        dict(type='torchvision/CenterCrop', size=64),
        dict(type='PILToNumpy', to_bgr=True),
        dict(type='PackInputs'),
    ]


def no_crop(cfg):
    cfg.test_dataloader.dataset.pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(64, 64)),
        dict(type='PackInputs'),
    ]


@pytest.mark.parametrize(
    'change',
    [
        two_scores,
        pytest.param(as_class, marks=needs_classes_as_types),
        scoped,
        wrapped_dataset,
        pytest.param(classes_for_types, marks=needs_classes_as_types),
        torchvision_pipeline,
        no_crop,
    ],
)
def test_any_classifier_and_config_that_can_be_tested(change, config, data, tmp_path):
    row = attempt_ood(config, data, tmp_path, change, sizes=dict(imagenet_r=96))
    row = row['test_sets']['imagenet_r']
    assert (row['samples'], row['size']) == (200, 96)


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        ('Tens', 'needs a classifier of 1000 classes, not 10'),
        ('Unsure', 'Unsure returns no pred_score'),
        (
            'Failing',
            'the model fails on the first batch: RuntimeError: the kernel is larger than the input$',
        ),
    ],
)
def test_models_that_cannot_are_refused_first(model, message, config, data, tmp_path, monkeypatch):
    monkeypatch.setattr(ood, '_accuracy', lambda *_: pytest.fail('evaluated'))
    with pytest.raises(InputError, match=message):
        attempt_ood(config, data, tmp_path, lambda cfg: cfg.update(model=dict(type=model)))
