"""What a config's fingerprint notices, and what it does not."""

import pytest
from mmengine.config import Config

from fan_mm.evaluation.identity import config_sha256

CONFIG = dict(
    model=dict(type='ImageClassifier', backbone=dict(type='FANViT')),
    data_preprocessor=dict(type='ClsDataPreprocessor', mean=[123.675, 116.28, 103.53]),
    test_dataloader=dict(batch_size=8, num_workers=2),
    test_evaluator=dict(type='Accuracy'),
    custom_hooks=[dict(type='RobustnessHook')],
)


def digest(**changes):
    cfg = Config(CONFIG)
    cfg.merge_from_dict({name.replace('__', '.'): value for name, value in changes.items()})
    return config_sha256(cfg)


@pytest.mark.parametrize(
    'change',
    [
        dict(model__backbone__type='FANSwin'),
        dict(data_preprocessor__mean=[0, 0, 0]),  # mmpretrain keeps it beside the model
        dict(test_dataloader__batch_size=4),
        dict(test_evaluator__type='MultiLabelMetric'),
        dict(custom_hooks=[dict(type='EMAHook')]),  # evaluates the averaged weights
    ],
)
def test_what_decides_the_numbers_counts(change):
    assert digest(**change) != digest()


@pytest.mark.parametrize(
    'change',
    [
        dict(test_dataloader__num_workers=0),
        dict(custom_hooks=[]),
        dict(work_dir='elsewhere'),
    ],
)
def test_the_rest_does_not(change):
    assert digest(**change) == digest()


def test_a_preprocessor_that_the_model_does_not_use_does_not_count():
    """mmseg and mmdet name it beside the model and use it inside."""
    inside = dict(model__data_preprocessor=dict(type='SegDataPreProcessor'))
    assert digest(**inside, data_preprocessor__mean=[0, 0, 0]) == digest(**inside)
