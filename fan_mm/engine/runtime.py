"""Making a config and this process ready before mmengine builds its Runner from them."""

import importlib
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from fan_mm.config_parts import parts_below, scope_of, type_name
from fan_mm.engine.config.building import building
from fan_mm.engine.config.old import refuse_old_config
from fan_mm.engine.config.values import check_values
from fan_mm.engine.config_checks import check_data, check_groups, check_settings
from fan_mm.engine.distributed import export_ranks, join_gloo_group, rank_of
from fan_mm.engine.machines import say_other_configs, share_seed
from fan_mm.engine.once_for_all import by_one_of_each_machine, join_group
from fan_mm.engine.overlap_thresholds import OverlapThresholdsHook
from fan_mm.engine.paramwise_lines import gather_paramwise_lines
from fan_mm.engine.safe_loading import use_safe_loading
from fan_mm.engine.short_console import ShortConsoleRunner
from fan_mm.engine.weights import LoadFromHook
from fan_mm.engine.whole_checkpoints import use_whole_files
from fan_mm.errors import InputError
from fan_mm.fileio import output_folder
from fan_mm.versions import TASK_LIBRARIES, require_task_library

_SYNC_BATCH_NORMS = ('SyncBN', 'MMSyncBN', 'SyncBatchNorm')  # the last is the class's name
_DRIVER = Path('/proc/driver/nvidia/version')


def prepare_runtime(cfg: Config, launcher: str = 'none', training: bool = False) -> list[str]:
    """Prepare a config for this machine: any task library, with or without GPUs, one process or many.

    From now on, torch files are read without executing code. Configs for mmpretrain get the
    data-loader defaults that its own tools add. `check_config` checks for mistakes; with a launcher,
    only for those that every process finds by itself, and `build_runner` checks the data. Without a
    GPU, SyncBN becomes BN, the processes form a gloo group, and mixed precision means bfloat16.

    Args:
        cfg: config; modified in place.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        training: prepare for training and validation, rather than for testing.

    Returns:
        Messages for the log, one line each (`build_runner` writes them).

    Raises:
        InputError: the task library is missing, or the config has a mistake.
    """
    refuse_old_config(cfg)
    use_safe_loading()
    check_values(cfg)
    cfg.launcher = launcher
    _, world_size, local_rank = rank_of(launcher)
    export_ranks(launcher)
    _set_patience(cfg)
    if _deterministic(cfg):  # cuBLAS reads the variable only when it is initialised
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    if scope := scope_of(cfg):
        cfg.default_scope = scope
    register_task_library(cfg)
    _fill_in_loaders(cfg)
    with building(cfg):
        if training:
            check_groups(cfg, training)
        remarks = check_settings(cfg, training)
    notes = []
    if get_device() == 'cpu':
        notes.append(_use_cpu(cfg, launcher, training))
    elif torch.cuda.is_available() and local_rank >= torch.cuda.device_count():
        raise InputError(
            f'process {local_rank} of this node has no GPU: there are only '
            f'{torch.cuda.device_count()}; start at most that many processes per node'
        )
    if launcher == 'none':
        remarks += check_data(cfg, training)
    if training:
        wrapper = cfg.optim_wrapper
        bfloat16 = 'bfloat16' in str(wrapper.get('dtype'))
        if type_name(wrapper) == 'AmpOptimWrapper' and bfloat16 and scope == 'mmdet':
            _use_bfloat16(cfg)  # mmcv's GPU operators support float16, but not bfloat16
        remarks += _batch_size_notes(cfg, world_size)
        if (cfg.get('auto_scale_lr') or {}).get('enable'):
            # mmengine ignores gradient accumulation in the batch size.
            cfg.auto_scale_lr.base_batch_size /= wrapper.get('accumulative_counts', 1)
    return notes + remarks


def build_runner(
    cfg: Config, launcher: str = 'none', training: bool = False, notes: Sequence[str] = ()
) -> Runner:
    """Prepare a config as `prepare_runtime` does, build its Runner, and log the preparations and further notes.

    Raises:
        InputError: as for `prepare_runtime`; a mistake in the data in every process of a launcher.
    """
    notes = [*notes, *prepare_runtime(cfg, launcher, training)]
    use_whole_files()
    with building(cfg):
        if not training:
            check_groups(cfg, training)
        if launcher != 'none':
            join_group(cfg, launcher)
            notes += say_other_configs(cfg)
            share_seed(cfg)
            notes += by_one_of_each_machine(lambda: check_data(cfg, training), rank_of(launcher)[2])
        if cfg.get('work_dir'):
            output_folder(cfg.work_dir)
        runner = RUNNERS.build(cfg) if 'runner_type' in cfg else ShortConsoleRunner.from_cfg(cfg)
    if not training and not isinstance(runner.model, torch.nn.Module):  # mmengine's FlexibleRunner
        raise InputError(
            f'runner_type: {type(runner).__name__} builds its model only when it runs; to test a '
            'checkpoint, use --cfg-options runner_type=Runner'
        )
    runner.register_hook(LoadFromHook())
    if cfg.get('default_scope') == 'mmdet':
        runner.register_hook(OverlapThresholdsHook())
    gather_paramwise_lines(runner)
    if _deterministic(cfg):
        # mmengine makes every operation without a deterministic GPU implementation an error, which
        # includes the losses and resizing of every mmseg head. Only warn instead.
        torch.use_deterministic_algorithms(True, warn_only=True)
    for note in notes:
        print_log(f'fan_mm: {note}', logger=runner.logger, level=logging.WARNING)
    return runner


def _deterministic(cfg: Config) -> bool:
    return bool((cfg.get('randomness') or {}).get('deterministic'))


def _set_patience(cfg: Config) -> None:
    """Let processes wait an hour for one that lists files or evaluates; NCCL waits ten minutes only."""
    environment = cfg.get('env_cfg') or {}
    group = environment.get('dist_cfg') or dict(backend='nccl')
    cfg.env_cfg = dict(environment, dist_cfg=dict(dict(timeout=3600), **group))


def register_task_library(cfg: Config) -> None:
    """Import the library of the config's default scope, or say in one line why it cannot be.

    Raises:
        InputError: it is not installed, or needs mmcv's compiled operators, which are missing.
    """
    scope = cfg.get('default_scope')
    if scope not in [library.module for library in TASK_LIBRARIES]:
        return
    require_task_library(scope)
    try:
        importlib.import_module(f'{scope}.utils').register_all_modules(init_default_scope=False)
    except ImportError as error:
        if error.name != 'mmcv._ext':
            raise
        raise InputError(
            f'{scope} needs compiled mmcv operators, but mmcv has none that can be loaded: '
            'run tools/setup_env.sh, or install an mmcv wheel for this torch and CUDA'
        ) from None
    if scope == 'mmdet':
        importlib.import_module('fan_mm.engine.fast_coco_metric')


def _fill_in_loaders(cfg: Config) -> None:
    """Give mmpretrain's loaders the options that its tools, not its configs, contain.

    Also removes worker options if there are no workers, because torch refuses them.
    """
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loader = cfg.get(name)
        if loader and isinstance(loader, dict):
            if cfg.get('default_scope') == 'mmpretrain':
                loader.setdefault('collate_fn', dict(type='default_collate'))
                loader.setdefault('pin_memory', get_device() != 'cpu')
                loader.setdefault('persistent_workers', True)
            if not loader.get('num_workers'):
                for option in ('prefetch_factor', 'timeout', 'multiprocessing_context'):
                    loader.pop(option, None)
                if loader.get('persistent_workers'):
                    loader['persistent_workers'] = False


def _use_cpu(cfg: Config, launcher: str, training: bool) -> str:
    """Replace what needs a GPU; returns the line that says so."""
    note = 'no GPU, running on the CPU' + _complaint_of_cuda()
    norms = [n for _, n in parts_below('', cfg.model) if type_name(n) in _SYNC_BATCH_NORMS]
    for norm in norms:
        norm['type'] = 'BN'
    if cfg.pop('sync_bn', None) or norms:
        note += ', BN instead of SyncBN'
    if launcher != 'none':
        join_gloo_group(launcher, cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout'))
        wrapper = cfg.get('model_wrapper_cfg') or dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
        cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)
        hooks = cfg.get('custom_hooks') or []
        if not any(type_name(hook) == 'BroadcastBuffersHook' for hook in hooks):
            cfg.custom_hooks = [*hooks, dict(type='BroadcastBuffersHook')]
        note += ', gloo between processes'
    if training and type_name(cfg.optim_wrapper) == 'AmpOptimWrapper':
        _use_bfloat16(cfg)
        note += ', bfloat16 for --amp'
    return note


def _complaint_of_cuda() -> str:
    """Why torch cannot use the GPU of an installed driver, most often an old one."""
    hidden = os.environ.get('CUDA_VISIBLE_DEVICES') in ('', '-1')
    if hidden or not torch.version.cuda or not _DRIVER.exists():
        return ''
    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as error:
        driver = ' '.join(re.findall(r'\d+\.[\d.]+', _DRIVER.read_text())[:1])
        reason = str(error).split('. ')[0]
        return f' (NVIDIA driver {driver} is installed, but torch for CUDA {torch.version.cuda} says: {reason})'
    return ''


def _use_bfloat16(cfg: Config) -> None:
    """Replace mmengine's wrapper by one that needs no GPU and suits the task's operators."""
    detector = cfg.get('default_scope') == 'mmdet'
    cfg.optim_wrapper.type = 'FeatureAmpOptimWrapper' if detector else 'CpuAmpOptimWrapper'
    for option in ('loss_scale', 'dtype', 'use_fsdp'):
        cfg.optim_wrapper.pop(option, None)


def _batch_size_notes(cfg: Config, world_size: int) -> list[str]:
    """A line if the learning rate was made for another batch size than this run's."""
    base = (cfg.get('auto_scale_lr') or {}).get('base_batch_size')
    if not base or cfg.auto_scale_lr.get('enable'):
        return []
    per_process = cfg.train_dataloader.get('batch_size')
    steps = cfg.optim_wrapper.get('accumulative_counts', 1)
    if per_process is None or world_size * per_process * steps == base:
        return []
    batch = f'processes {world_size} x images {per_process}'
    if steps > 1:
        batch += f' x accumulated steps {steps}'
    return [
        f'batch size {world_size * per_process * steps} ({batch}), but the learning rate is for '
        f'{base}: --auto-scale-lr scales it'
    ]
