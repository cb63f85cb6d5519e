"""Before and after a test that is a sweep: the model with its weights, the hooks, the report."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.runner import BaseLoop, Runner

from fan_mm.config_parts import datasets_of, steps_of, type_name
from fan_mm.engine import build_runner
from fan_mm.engine.checks.class_orders import other_order
from fan_mm.engine.checks.datasets import read_by_libraries
from fan_mm.engine.config.building import building
from fan_mm.engine.config_checks import knows_its_classes, preprocessor_of
from fan_mm.engine.exported_model import told_normalisation
from fan_mm.engine.machines import refuse_differences
from fan_mm.engine.onnx_file import is_onnx
from fan_mm.engine.weights import load_weights
from fan_mm.errors import InputError
from fan_mm.evaluation import RobustnessSweep
from fan_mm.evaluation.identity import config_sha256, file_sha256
from fan_mm.evaluation.loading.pictures import red_first
from fan_mm.evaluation.results import RESULTS
from fan_mm.fileio import printable
from fan_mm.logs import warn
from fan_mm.report import write_report
from fan_mm.torch_files import is_foreign, local_file

_MEAN = (123.3, 116.4, 103.6)  # of ImageNet's images, red first; models have it a little otherwise


def model_info(cfg: Config, checkpoint: str) -> dict[str, Any]:
    """What results say about the model, and what identifies its cells.

    Raises:
        InputError: the split has several loaders, for a loop of the user's own.
    """
    refuse_several(cfg)
    return {
        'name': Path(cfg.filename).stem if cfg.filename else type_name(cfg.model),
        'config': cfg.filename and os.path.relpath(cfg.filename),
        'checkpoint': checkpoint,
        'config_sha256': config_sha256(cfg),
        'checkpoint_sha256': file_sha256(checkpoint),
    }


def refuse_other_weights(checkpoint: str) -> None:
    """Refuse machines that read different files as the checkpoint. All processes call it."""
    refuse_differences(
        'the weights', lambda: named_by_content(checkpoint), 'copy the same file to all'
    )


def named_by_content(checkpoint: str) -> str:
    """The name of a checkpoint's file, with a short hash where it is not on a remote storage that all read."""
    name = os.path.basename(checkpoint)
    return name if is_foreign(checkpoint) else f'{name} {file_sha256(checkpoint)[:8]}'


def refuse_several(cfg: Config) -> None:
    """Refuse a list of test loaders, which only a loop of the user's own takes."""
    loaders = cfg.get('test_dataloader')
    if isinstance(loaders, list | tuple):
        raise InputError(
            f'test_dataloader is a list of {len(loaders)}: tools/test.py runs the loop that takes them; here '
            'it must be one, of a ConcatDataset perhaps'
        )


def ready_to_test(
    cfg: Config, content: object, checkpoint: str, launcher: str, notes: Sequence[str] = ()
) -> tuple[Runner, BaseLoop]:
    """Build the Runner of a config and bring its model to where ``Runner.test`` would begin.

    Args:
        cfg: with a test split that has annotations; modified in place.
        content: of the checkpoint (`fan_mm.engine.onnx_file.read_checkpoint`).
        checkpoint: its file.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        notes: lines for the log.

    Returns:
        The Runner, and its test loop, which has an evaluator.

    Raises:
        InputError: a mistake in the config, the data or the file.
    """
    if (cfg.get('test_dataloader') or {}).get('num_batch_per_epoch'):
        raise InputError(
            'test_dataloader.num_batch_per_epoch: a sweep takes all images, or with --max-samples N '
            'of them: set it to None'
        )
    cfg.load_from = None if is_onnx(checkpoint) else local_file(checkpoint)
    cfg.resume = False
    runner = build_runner(cfg, launcher, notes=notes)
    refuse_other_weights(checkpoint)
    check_normalised(cfg, content, checkpoint)
    load_weights(runner.model, content, checkpoint)
    with building(cfg):
        loop = runner.test_loop
    if not hasattr(loop, 'evaluator'):
        raise InputError(
            f"test_cfg: {type(loop).__name__} has no evaluator; a sweep needs one: type='TestLoop'"
        )
    say_other_classes(cfg, content, checkpoint, loop)
    say_red_first(cfg, loop)
    # As in Runner.test, so that hooks that change the weights (EMAHook) do.
    runner.call_hook('before_run')
    runner.load_or_resume()
    runner.call_hook('before_test')
    runner.call_hook('before_test_epoch')
    return runner, loop


def say_other_classes(cfg: Config, content: object, checkpoint: str, loop: Any) -> None:
    """Warn if a checkpoint was trained with classes in another order than they are tested in."""
    dataset = getattr(getattr(loop, 'dataloader', None), 'dataset', None)
    if knows_its_classes(cfg.model):
        for line in other_order(content, checkpoint, getattr(dataset, 'metainfo', None)):
            warn(f'fan_mm: {line}')


def check_normalised(cfg: Config, content: object, checkpoint: str) -> None:
    """Check that something normalises pixels where an exported file stands for a network that takes such.

    Args:
        cfg: of the model.
        content: of the checkpoint.
        checkpoint: its file.

    Raises:
        InputError: neither the data_preprocessor nor a pipeline of the libraries' transforms does.
    """
    made = told_normalisation(content)
    if not made.get('mean') or (preprocessor_of(cfg) or {}).get('mean') is not None:
        return
    with building(cfg):
        for place, dataset in datasets_of(
            'test_dataloader.dataset', cfg.test_dataloader.get('dataset')
        ):
            names = [type_name(step) for step in steps_of(dataset.get('pipeline'))]
            if not any('Normalize' in name for name in names) and read_by_libraries(place, dataset):
                raise InputError(
                    f'{checkpoint} was exported for images normalised by a mean of {made["mean"]}, but neither '
                    f'data_preprocessor nor {place}.pipeline has one'
                )


def say_red_first(cfg: Config, loop: Any) -> None:
    """Say in the log that a model gets red and blue otherwise than its data_preprocessor says.

    It exchanges those of images that have red first; or ImageNet's mean is in the other order.

    Args:
        cfg: of the model.
        loop: the test loop.
    """
    preprocessor = preprocessor_of(cfg)
    given = preprocessor if isinstance(preprocessor, dict) else {}
    exchanges = [name for name in ('bgr_to_rgb', 'to_rgb', 'rgb_to_bgr') if given.get(name)]
    order = _order_of_mean(given.get('mean'))
    if not exchanges and order is None:
        return
    red = red_first(getattr(getattr(loop, 'dataloader', None), 'dataset', None))
    gets = 'bgr' if red == bool(exchanges) else 'rgb'
    first = {'rgb': 'red', 'bgr': 'blue'}
    if red and exchanges and exchanges[0] != 'rgb_to_bgr':
        text = (
            f'test_dataloader.dataset.pipeline gives images with red first, and data_preprocessor.{exchanges[0]} '
            'exchanges red and blue: the model gets blue first'
        )
    elif order not in (None, gets):
        text = (
            f"data_preprocessor.mean {list(given['mean'])} is ImageNet's with {first[str(order)]} first, but the model "
            f'gets {first[gets]} first'
        )
    else:
        return
    warn(f'fan_mm: {text}, which is right only if it was trained so')


def _order_of_mean(mean: Any) -> str | None:
    """Which colour comes first in a mean that is ImageNet's, as one or another model has it; None for others."""
    if not isinstance(mean, list | tuple) or len(mean) != 3:
        return None
    for order, values in (('rgb', mean), ('bgr', mean[::-1])):
        if all(abs(own - known) < 1.5 for own, known in zip(values, _MEAN, strict=True)):
            return order
    return None


def say_same_names(loop: Any, option: str) -> None:
    """Warn if a library, which names files after the images, would write one file for several images.

    Args:
        loop: the test loop.
        option: by which files are to be written: '--out', label maps, or '--show-dir'.
    """
    dataset: Any = getattr(getattr(loop, 'dataloader', None), 'dataset', None)
    try:
        paths = [Path(dataset.get_data_info(i)['img_path']) for i in range(len(dataset))]
    except Exception:  # an own dataset, whose samples may be anything
        return
    names = Counter(path.stem if option == '--out' else path.name for path in paths)
    if len(names) < len(paths):
        name, count = names.most_common(1)[0]
        warn(
            f'fan_mm: {option}: {len(paths)} images have {len(names)} different names, such as {printable(name)} for '
            f'{count} of them: only the last one of each name is kept'
        )


def end_test(
    runner: Runner,
    loop: Any,
    sweep: RobustnessSweep,
    metrics: Mapping[str, float],
    work_dir: Path,
) -> None:
    """Finish as ``Runner.test`` does, and write the report of the results."""
    loop.dataloader = sweep.loader(sweep.cells)  # LoggerHook says its length
    runner.call_hook('after_test_epoch', metrics=metrics)
    runner.call_hook('after_test')
    runner.call_hook('after_run')
    if is_main_process():
        write_report(work_dir / RESULTS, work_dir)
    barrier()
