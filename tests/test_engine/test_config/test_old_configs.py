"""Configs of mmcv 1.x are told in one line, from wherever they come; mmengine's are not touched."""

import argparse

import pytest
from mmengine.config import Config

from fan_mm.engine import prepare_runtime
from fan_mm.engine.arguments import load_config
from fan_mm.engine.config.old import refuse_old_config, unread_keys
from fan_mm.engine.predictor import Predictor
from fan_mm.errors import InputError
from fan_mm.jobs.robustness import use_annotated_split
from fan_mm.jobs.training import train

OLD = """
model = dict(type='EncoderDecoder', pretrained=None, backbone=dict(type='MixVisionTransformer'))
data = dict(samples_per_gpu=2, workers_per_gpu=0, train=dict(type='CityscapesDataset', img_dir='x'),
    val=dict(type='CityscapesDataset', img_dir='x'), test=dict(type='CityscapesDataset', img_dir='x'))
optimizer = dict(type='AdamW', lr=6e-5)
lr_config = dict(policy='poly')
runner = dict(type='IterBasedRunner', max_iters=100)
"""
TOOLS = {
    'read': lambda file: load_config(argparse.Namespace(config=file, cfg_options=None)),
    'train': lambda file: train(Config.fromfile(file)),
    'sweep': lambda file: use_annotated_split(Config.fromfile(file)),
    'predict': lambda file: Predictor(Config.fromfile(file), 'none.pth'),
    'test': lambda file: prepare_runtime(Config.fromfile(file)),
}


@pytest.mark.parametrize('scope', ['', "default_scope = 'mmseg'\n"])
@pytest.mark.parametrize('tool', TOOLS)
def test_every_tool_says_it(tmp_path, tool, scope):
    file = tmp_path / 'old.py'
    file.write_text(scope + OLD)
    with pytest.raises(InputError, match=r'of mmcv 1.x .it has data, runner, lr_config') as error:
        TOOLS[tool](str(file))
    assert 'Migration' in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize(
    'content',
    [
        dict(data=dict(samples_per_gpu=2)),
        dict(total_epochs=12),
        dict(optimizer=dict(type='SGD', lr=0.1)),
        dict(lr_config=dict(policy='step', step=[8, 11])),
        dict(evaluation=dict(interval=1, metric='bbox')),
    ],
)
def test_parts_that_tell_it(content):
    with pytest.raises(InputError, match=next(iter(content))):
        refuse_old_config(Config(dict(content, model=dict(type='FasterRCNN'))))


@pytest.mark.parametrize('step', ['DefaultFormatBundle', 'Collect', 'mmdet.ImageToTensor'])
@pytest.mark.parametrize('wrapped', [False, True])
def test_old_pipelines_in_a_new_config(step, wrapped):
    pipeline = [dict(type='LoadImageFromFile'), dict(type=step)]
    if wrapped:
        pipeline = [dict(type='MyAug', transforms=pipeline)]
    dataset = dict(type='RepeatDataset', dataset=dict(type='CocoDataset', pipeline=pipeline))
    with pytest.raises(InputError, match=f'pipeline has {step.split(".")[-1]} of mmcv 1.x'):
        refuse_old_config(Config(dict(test_dataloader=dict(dataset=dataset))))


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
@pytest.mark.parametrize('listed', [list, tuple])
def test_datasets_that_mmcv_would_have_joined(split, listed):
    datasets = listed([dict(type='CocoDataset'), dict(type='CocoDataset')])
    loader = {f'{split}_dataloader': dict(dataset=datasets)}
    with pytest.raises(InputError, match=rf'{split}_dataloader\.dataset is a list.*ConcatDataset'):
        refuse_old_config(Config(loader))


def test_the_library_that_changed_its_name():
    with pytest.raises(InputError, match="set default_scope='mmpretrain'"):
        refuse_old_config(Config(dict(default_scope='mmcls')))


@pytest.mark.parametrize(
    'content',
    [
        dict(),
        dict(model=dict(type='FasterRCNN')),
        dict(optimizer=dict(type='SGD'), optim_wrapper=dict(optimizer=dict(type='SGD'))),
        dict(runner=dict(type='IterBasedRunner'), train_cfg=dict(max_iters=3)),
        dict(data=dict(), test_dataloader=dict(dataset=dict(type='CocoDataset'))),
        dict(val_dataloader=object(), data='coco'),
    ],
)
def test_configs_of_mmengine_are_left_alone(content):
    refuse_old_config(Config(content))
    assert unread_keys(Config(content)) == []


def test_a_schedule_that_nobody_reads_is_said():
    cfg = Config(dict(lr_config=dict(policy='poly'), train_cfg=dict(max_iters=3)))
    refuse_old_config(cfg)
    assert unread_keys(cfg) == [
        'lr_config of mmcv 1.x is ignored: use param_scheduler and optim_wrapper'
    ]
