"""What ``tools/train.py`` and ``tools/test.py`` do, for any task."""

import contextlib
import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import METRICS, OPTIMIZERS, DefaultScope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from fan_mm.config_parts import datasets_of, metrics_of, scope_of, type_name
from fan_mm.engine.config.building import building
from fan_mm.engine.config.old import refuse_old_config
from fan_mm.engine.config.registered import registered
from fan_mm.engine.distributed import rank_of
from fan_mm.engine.epoch_seed import ResumeSeedHook
from fan_mm.engine.evaluators import measures
from fan_mm.engine.first_batch.hook import FirstBatchHook
from fan_mm.engine.first_batch.samples import one_line
from fan_mm.engine.half_precision import use_half_precision
from fan_mm.engine.machines import refuse_differences, shared_by_all
from fan_mm.engine.onnx_file import is_onnx, read_checkpoint
from fan_mm.engine.prediction_dump import PredictionDumpHook
from fan_mm.engine.resume import newest_checkpoint, read_training_state
from fan_mm.engine.resumed_settings import ResumedSettingsHook
from fan_mm.engine.runtime import build_runner
from fan_mm.engine.weights import load_weights
from fan_mm.errors import InputError
from fan_mm.evaluation.loading.pictures import refuse_cut_pictures
from fan_mm.fileio import alone_in, check_file, output_folder
from fan_mm.jobs.testing import (
    check_normalised,
    named_by_content,
    refuse_other_weights,
    say_other_classes,
    say_red_first,
    say_same_names,
)
from fan_mm.logs import warn
from fan_mm.stopping import telling
from fan_mm.torch_files import is_foreign, why_refused

_PICKLES = ('.pkl', '.pickle')
_LABEL_WRITERS = ('IoUMetric', 'CityscapesMetric', 'DepthMetric')  # mmseg's, with an output_dir


def train(
    cfg: Config,
    launcher: str = 'none',
    resume: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
) -> None:
    """Train, validate and save checkpoints according to the config.

    Args:
        cfg: config; modified in place.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        resume: 'auto' for the newest readable checkpoint in the work dir, or a file.
        amp: train in mixed precision.
        auto_scale_lr: scale the learning rate with the batch size.

    Raises:
        InputError: a mistake in the config or in a file.
    """
    refuse_old_config(cfg)
    if amp:
        _set_amp(cfg)
    if auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise InputError(
                '--auto-scale-lr: the config does not say which batch size its learning rate is '
                'for; add auto_scale_lr=dict(base_batch_size=...)'
            )
        cfg.auto_scale_lr.enable = True
    with contextlib.ExitStack() as stack:
        first = rank_of(launcher)[0] == 0
        if first:
            stack.enter_context(alone_in(output_folder(cfg.work_dir)))
        stack.enter_context(telling(lambda: _how_to_go_on(cfg.work_dir, first)))
        _train(cfg, launcher, resume)


def _train(cfg: Config, launcher: str, resume: str | None) -> None:
    notes = []
    if resume is None and cfg.get('resume'):
        resume = cfg.get('load_from') or 'auto'
    if resume is not None:
        notes += _set_resume(cfg, resume)
    runner = build_runner(cfg, launcher, training=True, notes=notes)
    refuse_differences(
        'the checkpoints that the training starts from',
        lambda: named_by_content(cfg.load_from) if cfg.get('load_from') else 'none',
        'copy the same file to all, or use a work dir that they share',
    )
    runner.register_hook(ResumeSeedHook())
    runner.register_hook(ResumedSettingsHook())
    _check_optimizer(cfg)
    _check_saving(runner)
    with building(cfg):
        _safely(runner, runner.train, cfg.get('load_from'))


def test(
    cfg: Config,
    checkpoint: str,
    launcher: str = 'none',
    out: str | None = None,
    show: bool = False,
    show_dir: str | None = None,
    wait_time: float = 2.0,
    tta: bool = False,
    amp: bool = False,
) -> dict[str, float]:
    """Evaluate a checkpoint on the config's test data.

    Args:
        cfg: config; modified in place.
        checkpoint: path or URL of the weights, or a file exported by ``tools/export.py``.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        out: where to write predictions: for mmseg a folder of label maps, otherwise a .pkl file.
        show: show predictions in a window.
        show_dir: write images with predictions to this folder.
        wait_time: seconds between two windows.
        tta: use test-time augmentation, with the config's ``tta_model`` and ``tta_pipeline``; of mmpretrain's
            classifiers without these, the average over the image and its mirror image.
        amp: evaluate in mixed precision (`fan_mm.engine.half_precision`).

    Returns:
        The metrics.

    Raises:
        InputError: a mistake in the config or in a file.
    """
    cfg.load_from = None if is_onnx(checkpoint) else checkpoint
    cfg.resume = False
    content = None if is_foreign(checkpoint) else read_checkpoint(checkpoint)
    if show or show_dir:
        _set_painting(cfg, show, show_dir, wait_time)
    if tta:
        _set_tta(cfg)
    if amp:
        use_half_precision(cfg, checkpoint)
    dump = _set_output(cfg, out) if out else None
    runner = build_runner(cfg, launcher)
    refuse_other_weights(checkpoint)
    _say_shares(out, show_dir)
    if dump:
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
            runner.register_hook(PredictionDumpHook(METRICS.build(dump)))
    if content is not None:
        check_normalised(cfg, content, checkpoint)
        load_weights(runner.model, content, checkpoint)
    with building(cfg):
        say_other_classes(cfg, content, checkpoint, runner.test_loop)
        say_red_first(cfg, runner.test_loop)
        if out and dump is None:
            say_same_names(runner.test_loop, '--out')
        if show_dir and scope_of(cfg) != 'mmseg':  # which numbers them
            say_same_names(runner.test_loop, '--show-dir')
        scores: dict[str, float] = _safely(runner, lambda: _test(runner), checkpoint)
    metrics = getattr(getattr(runner.test_loop, 'evaluator', None), 'metrics', ())
    if not scores and not out and any(map(measures, metrics)):
        warn('fan_mm: there is no score: no metric returned one')
    return scores


def _say_shares(*folders: str | None) -> None:
    """Warn if the files of several machines will not be in one folder: every process writes those of its images."""
    for folder in folders:
        if folder and not folder.endswith(_PICKLES) and not shared_by_all(folder):
            warn(
                f'fan_mm: the machines do not share {folder}: each will have the files of its own images only'
            )


def _test(runner: Runner) -> dict[str, float]:
    loader = getattr(runner.test_loop, 'dataloader', None)
    if isinstance(loader, DataLoader):
        refuse_cut_pictures(loader.dataset)
    return runner.test()


def _check_optimizer(cfg: Config) -> None:
    """Find an unregistered name, of which mmengine reports only that None is not callable."""
    optimizer = cfg.optim_wrapper.get('optimizer')
    if isinstance(optimizer, dict):
        registered(OPTIMIZERS, 'optim_wrapper.optimizer', optimizer)


def _check_saving(runner: Runner) -> None:
    """Find options that would end a training at its first checkpoint."""
    known = inspect.signature(runner.save_checkpoint).parameters
    for hook in runner.hooks:
        unknown = [name for name in getattr(hook, 'args', {}) if name not in known]
        if isinstance(hook, CheckpointHook) and unknown:
            raise InputError(
                f'default_hooks.checkpoint: CheckpointHook has no argument {unknown[0]}'
            )


def _how_to_go_on(work_dir: str, first: bool) -> str:
    """One line; of the first process, which writes the checkpoints, with what there is."""
    if not first:
        return 'the same command with --resume continues from the last checkpoint'
    note = Path(work_dir, 'last_checkpoint')
    if not note.is_file():
        return f'{work_dir} contains no checkpoint yet'
    return f'the last checkpoint is {note.read_text()}; the same command with --resume continues from it'


def _safely(runner: Runner, run: Callable, source: str | None) -> Any:
    """Run, and turn what is not a bug into one line: a refused pickle, a bad sample, a failing first batch."""
    first = FirstBatchHook()
    runner.register_hook(first)
    try:
        return run()
    except pickle.UnpicklingError as error:
        raise InputError(why_refused(error, source or 'a checkpoint')) from None
    except InputError as error:  # a worker's is a whole traceback
        raise InputError(one_line(error)) from error
    except Exception as error:
        if explained := first.explain(error):
            # that of a sample, which was loaded once more, has its own cause
            raise explained from explained.__cause__ if explained.__traceback__ else error
        raise


def _set_resume(cfg: Config, resume: str) -> list[str]:
    """Point the config to the checkpoint and to the seed that it was trained with."""
    notes: list[str] = []
    if resume == 'auto':
        path, notes = newest_checkpoint(cfg.work_dir)
        if path is None:
            cfg.resume = False
            return [
                *notes,
                f'no checkpoint to resume in {cfg.work_dir}, starting from the beginning',
            ]
        resume = str(path)
    cfg.resume = True
    cfg.load_from = resume
    meta = read_training_state(resume)['meta']
    # mmengine restores the seed after it has built the sampler: too late for the order of samples
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=meta.get('seed'))
    return [*notes, f'resuming from {resume}, iteration {meta["iter"]}']


def _set_amp(cfg: Config) -> None:
    if not cfg.get('optim_wrapper'):
        raise InputError('--amp: the config has no optim_wrapper')
    kind = type_name(cfg.optim_wrapper) or 'OptimWrapper'
    if kind not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise InputError(f'--amp replaces an OptimWrapper, but the config has {kind}')
    cfg.optim_wrapper.type = 'AmpOptimWrapper'
    cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def _set_painting(cfg: Config, show: bool, show_dir: str | None, wait_time: float) -> None:
    """Switch the visualization hook on; each library names its options in its own way."""
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if hook is None:
        raise InputError('--show and --show-dir need a visualization hook among default_hooks')
    if show_dir:
        output_folder(show_dir)
    hook.update(show=show, wait_time=wait_time)
    hook['frame_interval' if type_name(hook).startswith('Track') else 'interval'] = 1
    scope = scope_of(cfg)
    hook['enable' if scope == 'mmpretrain' else 'draw'] = True
    if show_dir and scope == 'mmseg':
        cfg.visualizer.save_dir = show_dir
    elif show_dir:
        hook['out_dir' if scope == 'mmpretrain' else 'test_out_dir'] = show_dir


def _set_tta(cfg: Config) -> None:
    if scope_of(cfg) == 'mmpretrain' and not cfg.get('tta_model'):  # none of its configs has one
        cfg.tta_model = dict(type='mmpretrain.AverageClsScoreTTA')
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
    else:
        flips = []
    for name in ('tta_model', 'tta_pipeline'):
        if not cfg.get(name) and not flips:
            raise InputError(f'--tta: the config has no {name}')
    for place, dataset in datasets_of('test_dataloader.dataset', cfg.test_dataloader.dataset):
        if cfg.get('tta_pipeline'):
            dataset['pipeline'] = copy.deepcopy(cfg.tta_pipeline)
        elif steps := dataset.get('pipeline'):  # as mmpretrain's own tool does
            last = dict(type='TestTimeAug', transforms=[flips, [steps[-1]]])
            dataset['pipeline'] = [*steps[:-1], last]
        else:
            raise InputError(f'--tta: {place} has no pipeline')
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


def _set_output(cfg: Config, out: str) -> dict | None:
    """Have predictions written: by mmseg's metric as images, for the others as a pickle.

    Returns:
        The config of the metric that is to dump them; None for mmseg.
    """
    scope = scope_of(cfg)
    if scope != 'mmseg':
        if not out.endswith(_PICKLES):
            raise InputError(f'--out must end in .pkl for this task, not {out}')
        check_file(out)
        output_folder(Path(out).parent)
        kind = 'DumpDetResults' if scope == 'mmdet' else 'DumpResults'
        return dict(type=kind, out_file_path=out)
    if out.endswith(_PICKLES) or Path(out).is_file():
        raise InputError(f'for mmseg, --out must be a folder for label maps, not a file: {out}')
    metrics = metrics_of(cfg.test_evaluator)
    # the first one, unless another is known to write
    metrics.sort(key=lambda metric: type_name(metric) not in _LABEL_WRITERS)
    for metric in metrics:
        if isinstance(metric, dict):
            output_folder(out)
            metric.update(output_dir=out, keep_results=True)
            return None
        if hasattr(metric, 'output_dir'):  # built already
            metric.output_dir, metric.keep_results = out, True
            if is_main_process():
                output_folder(out)
            return None
    raise InputError(
        f'--out: the evaluator has no metric that writes label maps ({", ".join(_LABEL_WRITERS)})'
    )
