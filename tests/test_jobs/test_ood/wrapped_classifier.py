"""A classifier that is no `backbone.` plus one linear head, and its row."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

pytest.importorskip('mmpretrain')

from mmpretrain.models import BaseClassifier
from mmpretrain.registry import MODELS as PRETRAIN_MODELS

from fan_mm.jobs.ood import evaluate_ood


@PRETRAIN_MODELS.register_module(force=True)
class Wrapped(BaseClassifier):
    """A network of another library, as mmpretrain's TimmClassifier and HuggingFaceClassifier wrap it."""

    outputs = 1000

    def __init__(self, data_preprocessor=None, **_):
        super().__init__(data_preprocessor=data_preprocessor)
        parts = torch.nn.Conv2d(3, 8, 8, 8), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        self.net = torch.nn.Sequential(*parts, torch.nn.Linear(8, self.outputs))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        scores = self.net(inputs)
        for sample, score in zip(data_samples, scores.softmax(1), strict=True):
            self.set(sample, score)
        return data_samples

    def set(self, sample, score):
        sample.set_pred_score(score).set_pred_label(score.argmax())

    def extract_feat(self, inputs):
        raise NotImplementedError

    def loss(self, inputs, data_samples):
        raise NotImplementedError


def as_class(cfg):
    cfg.model = dict(type=Wrapped)


def attempt_ood(config, data, tmp_path, change, folders=('r',), **options):
    cfg = Config.fromfile(config)
    change(cfg)
    preprocessor = dict(cfg.data_preprocessor, type='ClsDataPreprocessor')
    cfg.data_preprocessor = preprocessor
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(cfg.model, data_preprocessor=preprocessor))
    path = tmp_path / 'model.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    sets = {f'imagenet_{name}': str(data / name) for name in folders}
    return evaluate_ood(cfg, str(path), sets, tmp_path / 'ood', clean=False, **options)
