"""Every tool with wrong configs and keys of configs: one ``error:`` line and status 2, never a traceback."""

import os

import pytest
from command_cases import NEEDS_CONFIG, assert_one_line, config_words, sampled

pytest.importorskip('mmseg')


WRONG_KEYS = [  # what --cfg-options can break, in any config
    *('nonsense', '=3', 'model', 'a.=3', '.a=3', 'model.backbone.depth=[1,2', 'x=(1'),
    *('model=3', 'model=None', 'model.backbone=3', 'model.backbone.type=NoSuch'),
    *('model.backbone.arch=3', 'model.backbone.no_such=1', 'model.decode_head.no_such=1'),
    *('model.decode_head.num_classes=abc', 'model.decode_head.channels=-3', 'model.type=NoSuch'),
    *('default_scope=nolib', 'default_scope=3', 'train_dataloder.batch_size=2', 'log_level=LOUD'),
    *('work_dir=3', 'model.backbone.arch.x.y.z=3', 'env_cfg=3', 'env_cfg.dist_cfg=3'),
]
WRONG_TRAINING_KEYS = [
    *(f'train_dataloader.batch_size={v}' for v in ('0', '-1', 'abc', '2.5', '[1]')),
    *(f'train_dataloader.num_workers={v}' for v in ('-1', '1.5', 'abc')),
    *(f'train_cfg.max_iters={v}' for v in ('abc', '0', '-1', '1.5', 'nan')),
    *(f'train_cfg.val_interval={v}' for v in ('abc', '0')),
    *(f'optim_wrapper.optimizer.lr={v}' for v in ('nan', '-1', 'abc', 'inf')),
    *(f'randomness.seed={v}' for v in ('-1', 'abc', '4294967296', '1.5')),
    *(f'default_hooks.checkpoint.{k}' for k in ('interval=abc', 'max_keep_ckpts=abc', 'no_such=1')),
    *('default_hooks.logger.interval=0', 'default_hooks.checkpoint=3', 'default_hooks=3'),
    *('train_dataloader.dataset=3', 'train_dataloader.dataset.type=NoSuch'),
    *('train_dataloader.dataset.no_such=1', 'train_dataloader.dataset.pipeline.2.type=NoSuch'),
    *(
        'train_dataloader.dataset.pipeline.2.no_such=1',
        'train_dataloader.dataset.pipeline.9.type=A',
    ),
    *('train_dataloader.dataset.pipeline=3', 'train_dataloader.dataset.data_root=/no/such'),
    *('train_dataloader.no_such=1', 'train_dataloader.sampler.type=NoSuch', 'train_dataloader=3'),
    *('optim_wrapper.type=NoSuch', 'optim_wrapper.optimizer.type=NoSuch', 'optim_wrapper=3'),
    *('optim_wrapper.optimizer.no_such=1', 'optim_wrapper.optimizer.betas=3'),
    *('optim_wrapper.paramwise_cfg=3', 'optim_wrapper.clip_grad=3', 'optim_wrapper.constructor=No'),
    *('param_scheduler.0.type=NoSuch', 'param_scheduler.0.no_such=1', 'param_scheduler=3'),
    *('train_cfg.type=NoSuch', 'train_cfg.no_such=1', 'train_cfg.max_iters.x=1', 'train_cfg=3'),
    *('val_evaluator.type=NoSuch', 'val_evaluator=3', 'visualizer=3', 'load_from=nothing.pth'),
    *('env_cfg.mp_cfg.mp_start_method=no', 'auto_scale_lr.base_batch_size=abc', 'load_from=3'),
]
WRONG_CONFIGS = {
    'syntax.py': 'a = 1\nb = = 2\n',
    'raises.py': "a = 1\nb = a + 'x'\n",
    'exits.py': 'import sys\nsys.exit(3)\n',
    'base.py': "_base_ = './nothing.py'\n",
    'needs.py': "custom_imports = dict(imports=['no_such_package'], allow_failed_imports=False)\n",
    'imports.py': "custom_imports = dict(imports=['broken_module'], allow_failed_imports=False)\n",
    'empty.py': '',
    'broken_module.py': 'x = undefined\n',
    'list.json': '[1]',
    'half.json': '{"model": ',
    'half.yaml': 'model: [1\n b',
    'lazy.py': 'from .nothing import *\n',
    'latin.py': b"a = '\xe9'\n",
    'text.txt': 'a = 1',
    'nul.py': b'a = 1\x00',
}
SAID = {
    'syntax.py': 'syntax.py, line 2',
    'raises.py': 'raises.py, line 2',
    'base.py': 'nothing.py',
    'needs.py': 'no_such_package',
    'imports.py': 'broken_module.py, line 1',
}
BACKBONE_ONLY = ('visualize_clusters', 'visualize_gates', 'analyze_noise_decay')


@pytest.mark.parametrize(
    'case', sampled([(t, c) for t in NEEDS_CONFIG for c in [*WRONG_CONFIGS, 'folder.py']])
)
def test_configs_that_are_none(run, tmp_path, case):
    tool, name = case
    for file, text in WRONG_CONFIGS.items():
        (tmp_path / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    (tmp_path / 'folder.py').mkdir()
    (tmp_path / 'nothing').mkdir()  # what stands for pictures
    said = '' if tool in ('visualize_clusters', 'visualize_gates') else SAID.get(name, '')
    if tool in ('analyze_noise_decay', 'export'):
        said = ''
    assert_one_line(run(tool, *config_words(tool, name)), said)


@pytest.mark.parametrize('case', sampled([('train', key) for key in WRONG_TRAINING_KEYS], 12))
def test_keys_of_trainings(run, tiny_config, case):
    assert_one_line(run('train', tiny_config, '--cfg-options', case[1]))


def model_cases():
    for tool in NEEDS_CONFIG:
        for key in WRONG_KEYS:
            if not (tool in BACKBONE_ONLY and ('head' in key or key == 'model.type=NoSuch')):
                yield tool, key


@pytest.mark.parametrize('case', sampled(model_cases(), 20))
def test_keys_of_models(run, tiny_config, checkpoint, tiny_cityscapes, case):
    tool, key = case
    pictures = tiny_cityscapes / 'leftImg8bit' / 'val'
    words = config_words(tool, tiny_config, images=pictures, checkpoint=checkpoint)
    if tool in ('visualize_segmentation', 'analyze_noise_decay'):
        words[1] = checkpoint
    assert_one_line(run(tool, *words, '--cfg-options', key))


@pytest.mark.parametrize(
    'key, said',
    [
        ('test_dataloader.num_batch_per_epoch=1', '--max-samples'),
        ('test_dataloader.collate_fn.type=NoSuch', 'test_dataloader: '),
        ('test_dataloader.dataset.indices=[0,99]', 'list index out of range'),
        ('test_dataloader.dataset.pipeline.0.type=LoadImageFromNDArray', 'cannot load'),
    ],
)
def test_keys_of_sweeps(run, tiny_config, checkpoint, key, said):
    words = (tiny_config, checkpoint, '--corruptions', 'fog', '--severities', '1')
    assert_one_line(run('test_corruption', *words, '--cfg-options', key), said)


def test_what_a_config_has_not(run, tiny_config, checkpoint):
    words = ('--tta', '--cfg-options', 'tta_model=None')
    assert_one_line(run('test', tiny_config, checkpoint, *words), 'the config has no tta_model')
    words = ('--out', 'o', '--cfg-options', 'test_dataloader=None', 'val_dataloader=None')
    assert_one_line(run('show_predictions', tiny_config, checkpoint, *words), 'class names')


def test_modules_beside_the_config_and_in_the_current_folder(run, tiny_config, tmp_path):
    here, beside = tmp_path / 'here', tmp_path / 'beside'
    for folder, module in ((here, 'module_here'), (beside, 'module_beside')):
        folder.mkdir()
        (folder / f'{module}.py').write_text('')
    config = beside / 'my config.py'
    config.write_text(
        f"_base_ = '{tiny_config}'\n"
        "custom_imports = dict(imports=['fan_mm', 'module_here', 'module_beside'])\n"
    )
    os.chdir(here)
    assert_one_line(run('test', config, 'nothing.pth'), 'no such checkpoint: nothing.pth')
