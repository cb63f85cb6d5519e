"""What ``tools/train.py`` and ``tools/test.py`` do, for any task."""

import pickle
from collections.abc import Callable
from pathlib import Path

from mmengine.config import Config, ConfigDict

from fan_mm.config_parts import type_name
from fan_mm.engine.epoch_seed import ResumeSeedHook
from fan_mm.engine.onnx_file import is_onnx, read_checkpoint
from fan_mm.engine.resume import newest_checkpoint, read_training_state
from fan_mm.engine.runtime import build_runner
from fan_mm.engine.weights import load_weights
from fan_mm.errors import InputError
from fan_mm.torch_files import is_foreign, why_refused

_PICKLES = ('.pkl', '.pickle')


def train(
    cfg: Config,
    launcher: str = 'none',
    resume: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
) -> None:
    """Train, validate and save checkpoints as the config says.

    Args:
        cfg: changed in place.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        resume: 'auto' for the newest checkpoint in the work dir that can be read, or a file.
        amp: train in mixed precision.
        auto_scale_lr: scale the learning rate with the batch size.

    Raises:
        InputError: a mistake in the config or in a file, in one line.
    """
    notes = []
    if resume is None and cfg.get('resume'):
        resume = cfg.get('load_from') or 'auto'
    if resume is not None:
        notes += _set_resume(cfg, resume)
    if amp:
        _set_amp(cfg)
    if auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise InputError(
                '--auto-scale-lr: the config does not say which batch size its learning rate is '
                'for; add auto_scale_lr=dict(base_batch_size=...)'
            )
        cfg.auto_scale_lr.enable = True
    runner = build_runner(cfg, launcher, training=True, notes=notes)
    runner.register_hook(ResumeSeedHook())
    _safely(runner.train, cfg.get('load_from'))


def test(
    cfg: Config,
    checkpoint: str,
    launcher: str = 'none',
    out: str | None = None,
    show: bool = False,
    show_dir: str | None = None,
    wait_time: float = 2.0,
    tta: bool = False,
) -> dict[str, float]:
    """Evaluate a checkpoint on the config's test data.

    Args:
        cfg: changed in place.
        checkpoint: path or address of the weights, or a file of ``tools/export.py``.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        out: where predictions go: for mmseg a folder of label pictures, otherwise a .pkl file.
        show: show painted predictions in a window.
        show_dir: write painted predictions below this folder.
        wait_time: seconds between two windows.
        tta: test-time augmentation, as the config's ``tta_model`` and ``tta_pipeline`` say.

    Returns:
        The metrics.

    Raises:
        InputError: a mistake in the config or in a file, in one line.
    """
    cfg.load_from = None if is_onnx(checkpoint) else checkpoint
    cfg.resume = False
    content = None if is_foreign(checkpoint) else read_checkpoint(checkpoint)
    if show or show_dir:
        _set_painting(cfg, show, show_dir, wait_time)
    if tta:
        _set_tta(cfg)
    if out:
        _set_output(cfg, out)
    runner = build_runner(cfg, launcher)
    if content is not None:
        load_weights(runner.model, content, checkpoint)
    return _safely(runner.test, checkpoint)


def _safely(run: Callable, source: str | None) -> object:
    """Run, turning torch's refusal of a pickle into one line."""
    try:
        return run()
    except pickle.UnpicklingError as error:
        raise InputError(why_refused(error, source or 'a checkpoint')) from None


def _set_resume(cfg: Config, resume: str) -> list[str]:
    """Point the config to the checkpoint and to the seed that it was trained with."""
    notes = []
    if resume == 'auto':
        path, notes = newest_checkpoint(cfg.work_dir)
        if path is None:
            cfg.resume = False
            return [f'nothing to resume in {cfg.work_dir}, starting from the beginning']
        resume = str(path)
    cfg.resume = True
    cfg.load_from = resume
    meta = read_training_state(resume)['meta']
    # mmengine restores the seed after it has built the sampler: too late for the order of samples
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=meta.get('seed'))
    return [*notes, f'resuming from {resume}, iteration {meta["iter"]}']


def _set_amp(cfg: Config) -> None:
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
    hook.update(show=show, wait_time=wait_time, interval=1)
    scope = cfg.get('default_scope')
    hook['enable' if scope == 'mmpretrain' else 'draw'] = True
    if show_dir and scope == 'mmseg':
        cfg.visualizer.save_dir = show_dir
    elif show_dir:
        hook['out_dir' if scope == 'mmpretrain' else 'test_out_dir'] = show_dir


def _set_tta(cfg: Config) -> None:
    for name in ('tta_model', 'tta_pipeline'):
        if name not in cfg:
            raise InputError(f'--tta: the config has no {name}')
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    dataset.pipeline = cfg.tta_pipeline
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


def _set_output(cfg: Config, out: str) -> None:
    """Make the evaluator write predictions: pictures for mmseg, a pickle for the others."""
    evaluators = cfg.test_evaluator
    evaluators = list(evaluators) if isinstance(evaluators, list | tuple) else [evaluators]
    if cfg.get('default_scope') == 'mmseg':
        if out.endswith(_PICKLES) or Path(out).is_file():
            raise InputError(f'for mmseg --out is a folder of label pictures, not a file: {out}')
        evaluators[0].update(output_dir=out, keep_results=True)
    elif out.endswith(_PICKLES):
        dump = 'DumpDetResults' if cfg.get('default_scope') == 'mmdet' else 'DumpResults'
        evaluators.append(ConfigDict(type=dump, out_file_path=out))
    else:
        raise InputError(f'--out must end in .pkl for this task, not be {out}')
    cfg.test_evaluator = evaluators
