import importlib
import os

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import OPTIM_WRAPPERS

from fan_mm.engine import build_runner, prepare_runtime, runtime
from fan_mm.engine.distributed import export_ranks, rank_of
from fan_mm.errors import InputError
from fan_mm.jobs.training import train
from fan_mm.versions import TASK_LIBRARIES, Requirement

pytest.importorskip('mmseg')
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason='the fallback is for CPUs')


@pytest.fixture
def cfg(tiny_config):
    return Config.fromfile(tiny_config)


@without_gpu
def test_sync_batch_norm_becomes_batch_norm_in_one_line(cfg):
    cfg.sync_bn = 'torch'
    note, *_ = prepare_runtime(cfg, training=True)
    assert 'SyncBN' not in str(cfg.model)
    assert cfg.model.backbone.norm_cfg == dict(type='BN', requires_grad=True)
    assert 'sync_bn' not in cfg
    assert note == 'no GPU, running on the CPU, BN instead of SyncBN'


@without_gpu
def test_a_driver_that_does_not_fit_is_said(cfg, monkeypatch, tmp_path):
    def init():
        raise RuntimeError('The driver is too old (found version 12020). Please update it')

    driver = tmp_path / 'version'
    driver.write_text('NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\n')
    monkeypatch.setattr(runtime, '_DRIVER', driver)
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setattr(torch.cuda, 'init', init)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    assert 'driver' not in prepare_runtime(cfg.copy())[0]
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES')
    assert prepare_runtime(cfg)[0].startswith(
        'no GPU, running on the CPU (NVIDIA driver 535.104.05 is installed, but torch for CUDA 13.0 '
        'says: The driver is too old (found version 12020))'
    )


@without_gpu
def test_mixed_precision_without_gpu_is_bfloat16(cfg):
    cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic', dtype='float16')
    note, *_ = prepare_runtime(cfg, training=True)
    assert note.endswith('bfloat16 for --amp')
    linear = torch.nn.Linear(3, 3)
    optimizer = torch.optim.SGD(linear.parameters(), lr=0.1)
    options = {key: value for key, value in cfg.optim_wrapper.items() if key == 'type'}
    wrapper = OPTIM_WRAPPERS.build(dict(options, optimizer=optimizer))
    with wrapper.optim_context(linear):
        output = linear(torch.ones(1, 3))
    assert output.dtype == torch.bfloat16
    before = linear.weight.clone()
    wrapper.update_params(output.float().sum())
    assert linear.weight.dtype == torch.float32
    assert not torch.equal(linear.weight, before)


@pytest.mark.parametrize(('batch', 'steps', 'said'), [(2, 1, False), (1, 2, False), (4, 1, True)])
def test_batch_size_note(cfg, batch, steps, said):
    cfg.train_dataloader.batch_size = batch
    cfg.optim_wrapper.accumulative_counts = steps
    notes = prepare_runtime(cfg, training=True)
    assert any('--auto-scale-lr' in note for note in notes) == said
    cfg.auto_scale_lr.enable = True
    assert not any('--auto-scale-lr' in note for note in prepare_runtime(cfg, training=True))


def test_accumulated_steps_count_in_scaling(cfg):
    cfg.auto_scale_lr = dict(enable=True, base_batch_size=8)
    cfg.optim_wrapper.accumulative_counts = 4
    prepare_runtime(cfg, training=True)
    # mmengine scales by processes x images / base: 1 x 2 / 2, the four steps of two images make 8
    assert cfg.auto_scale_lr.base_batch_size == 2


def test_auto_scale_lr_needs_a_base_batch_size(cfg):
    cfg.auto_scale_lr = None
    with pytest.raises(InputError, match='base_batch_size'):
        train(cfg, auto_scale_lr=True)


def test_amp_needs_a_plain_optimizer_wrapper(cfg):
    cfg.optim_wrapper.type = 'ApexOptimWrapper'
    with pytest.raises(InputError, match='ApexOptimWrapper'):
        train(cfg, amp=True)


@pytest.mark.parametrize('library', TASK_LIBRARIES, ids=lambda library: library.module)
def test_missing_task_library(cfg, monkeypatch, library):
    monkeypatch.setattr(Requirement, 'distribution', lambda self: None)
    cfg.default_scope = library.module
    with pytest.raises(InputError, match=f'pip install "{next(iter(library.pins))}') as error:
        prepare_runtime(cfg)
    assert '\n' not in str(error.value)


def test_missing_compiled_operators(cfg, monkeypatch):
    def without_operators(name):
        raise ModuleNotFoundError("No module named 'mmcv._ext'", name='mmcv._ext')

    monkeypatch.setattr(Requirement, 'installed', lambda self: '3.3.0')
    monkeypatch.setattr(importlib, 'import_module', without_operators)
    cfg.default_scope = 'mmdet'
    with pytest.raises(InputError, match='compiled mmcv operators'):
        prepare_runtime(cfg)


def test_mmpretrain_loaders_get_their_tools_defaults(monkeypatch):
    pytest.importorskip('mmpretrain')
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(type='ImageClassifier'),
            test_dataloader=dict(batch_size=1, num_workers=2, dataset=dict(type='CIFAR10')),
        )
    )
    prepare_runtime(cfg)
    assert cfg.test_dataloader.collate_fn == dict(type='default_collate')
    assert cfg.test_dataloader.persistent_workers
    cfg.test_dataloader = ConfigDict(num_workers=0, collate_fn=dict(type='pseudo_collate'))
    prepare_runtime(cfg)
    assert cfg.test_dataloader.collate_fn == dict(type='pseudo_collate')
    assert not cfg.test_dataloader.persistent_workers


def test_options_of_workers_need_workers(cfg, tmp_path):
    cfg.work_dir = str(tmp_path / 'out')
    cfg.test_dataloader.update(num_workers=0, persistent_workers=True, prefetch_factor=2, timeout=9)
    runner = build_runner(cfg)
    assert not cfg.test_dataloader.persistent_workers
    assert len(runner.test_dataloader) == 3


def test_the_scope_is_taken_from_the_model(cfg):
    cfg.pop('default_scope')
    prepare_runtime(cfg)
    assert cfg.default_scope == 'mmseg'


def test_with_a_launcher_the_data_are_looked_into_once(cfg, tmp_path, monkeypatch):
    """And nobody waits for a process that has found a mistake."""
    cfg.work_dir = str(tmp_path / 'out')
    cfg.test_dataloader.dataset.data_root = 'nowhere'
    for name, value in dict(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0').items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(runtime, '_use_cpu', lambda *args: 'no GPU here')
    prepare_runtime(cfg, 'pytorch')
    joined = []
    monkeypatch.setattr(runtime, 'join_group', lambda *args: joined.append(args))
    with pytest.raises(InputError, match='no such file or folder: nowhere'):
        build_runner(cfg, 'pytorch')
    assert joined


def test_more_processes_than_gpus(cfg, monkeypatch):
    monkeypatch.setattr(runtime, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    for name, value in dict(RANK='2', WORLD_SIZE='3', LOCAL_RANK='2').items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match='there are only 2'):
        prepare_runtime(cfg, 'pytorch')
    monkeypatch.setenv('LOCAL_RANK', '1')
    prepare_runtime(cfg, 'pytorch')
    assert cfg.model.backbone.norm_cfg.type == 'SyncBN'
    assert 'model_wrapper_cfg' not in cfg


def test_rank_of(monkeypatch):
    assert rank_of('none') == (0, 1, 0)
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(InputError, match='torchrun'):
        rank_of('pytorch')
    monkeypatch.setenv('SLURM_PROCID', '5')
    monkeypatch.setenv('SLURM_NTASKS', '8')
    monkeypatch.setenv('SLURM_LOCALID', '1')
    assert rank_of('slurm') == (5, 8, 1)
    with pytest.raises(InputError, match='mpirun'):
        rank_of('mpi')
    with pytest.raises(InputError, match='launcher must be'):
        rank_of('kubernetes')


def test_mpi_processes_learn_their_gpu_and_where_to_meet(monkeypatch):
    """mmengine sets neither."""
    for name, value in dict(RANK=5, SIZE=8, LOCAL_RANK=1, LOCAL_SIZE=4).items():
        monkeypatch.setenv(f'OMPI_COMM_WORLD_{name}', str(value))
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR'):
        monkeypatch.setenv(name, '0')  # put back afterwards
    monkeypatch.delenv('MASTER_ADDR')
    with pytest.raises(InputError, match='-x MASTER_ADDR=HOST'):
        export_ranks('mpi')
    monkeypatch.setenv('OMPI_COMM_WORLD_LOCAL_SIZE', '8')
    export_ranks('mpi')
    assert [os.environ[name] for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')] == ['5', '8', '1']
    assert os.environ['MASTER_ADDR'] == '127.0.0.1'


def test_processes_wait_for_one_that_works_alone(cfg):
    prepare_runtime(cfg)
    assert cfg.env_cfg.dist_cfg.timeout == 3600
    assert cfg.env_cfg.dist_cfg.backend == 'nccl'
    cfg.env_cfg.dist_cfg.timeout = 60
    prepare_runtime(cfg)
    assert cfg.env_cfg.dist_cfg.timeout == 60


def test_deterministic_runs_are_possible_on_gpus(cfg, tmp_path, monkeypatch):
    """Where an operation has no deterministic form, the run goes on."""
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', '')
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG')
    cfg.randomness = dict(seed=0, deterministic=True)
    cfg.work_dir = str(tmp_path / 'out')
    try:
        build_runner(cfg)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
        assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'
    finally:
        torch.use_deterministic_algorithms(False)
