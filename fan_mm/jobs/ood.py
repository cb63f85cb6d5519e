"""What ``tools/test_ood.py`` does: one classifier on ImageNet and its out-of-distribution test sets."""

import copy
import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, get_dist_info, is_main_process
from mmengine.model import is_model_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn

from fan_mm.engine import build_runner
from fan_mm.engine.first_batch import try_model
from fan_mm.engine.weights import load_weights
from fan_mm.errors import InputError
from fan_mm.evaluation import RobustnessSweep
from fan_mm.evaluation.cell_dataset import batch_size_of
from fan_mm.evaluation.identity import config_sha256, file_sha256
from fan_mm.evaluation.imagenet_subsets import FOLDER_SETS, correct_counts
from fan_mm.evaluation.results import RESULTS
from fan_mm.fileio import write_whole
from fan_mm.models.conversion import classifier_state
from fan_mm.report import remove_report, write_report
from fan_mm.report.tables import markdown_table
from fan_mm.torch_files import read_torch_file

SCHEMA = 'fan_mm.ood/1'
FILE = 'ood.json'
TEST_SETS = ('clean', *FOLDER_SETS, 'imagenet_c')
# As the released scripts evaluate (spec 12.1, 12.2): ImageNet-A at 384 (STL's script: 224), averaged
# weights for ImageNet-R alone. None is the config's own size.
SIZES: dict[str, int | None] = dict.fromkeys(TEST_SETS) | {'imagenet_a': 384}
WEIGHTS = dict.fromkeys(TEST_SETS, 'model') | {'imagenet_r': 'ema'}


def evaluate_ood(
    cfg: Config,
    checkpoint: str,
    folders: Mapping[str, str],
    work_dir: str | Path,
    launcher: str = 'none',
    sizes: Mapping[str, int] | None = None,
    weights: Mapping[str, str] | None = None,
    clean: bool = True,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Evaluate a classifier, a row of the FAN paper's Table 11, and write ``ood.json``.

    The file is written after every test set, so that a run that is stopped leaves what is done.

    Args:
        cfg: an mmpretrain config whose test split is ImageNet's validation set; changed in place.
        checkpoint: path of the weights.
        folders: test set (a key of `TEST_SETS`, not 'clean') to its folder.
        work_dir: where the results go; a sweep over ImageNet-C goes on where it was.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        sizes: input size of test sets in pixels, where it shall not be that of `SIZES`.
        weights: 'ema' or 'model' of test sets, where it shall not be that of `WEIGHTS`.
        clean: evaluate the clean validation set too.
        overwrite: forget the sweep over ImageNet-C in ``work_dir``.

    Returns:
        The content of the file, on every rank.

    Raises:
        InputError: a mistake in the config, a folder, a file or an option, before anything is
            evaluated.
    """
    sizes, weights = SIZES | dict(sizes or {}), WEIGHTS | dict(weights or {})
    for name in {*folders, *sizes, *weights}:
        if name not in TEST_SETS:
            raise InputError(f'test sets are {", ".join(TEST_SETS)}, not {name!r}')
    if set(weights.values()) - {'ema', 'model'}:
        raise InputError("weights are 'ema' or 'model'")
    if cfg.get('default_scope') != 'mmpretrain':
        raise InputError('out-of-distribution sets of ImageNet need a config of mmpretrain')
    content = read_torch_file(checkpoint)
    names = ['clean'] * clean + [name for name in TEST_SETS if name in folders]
    if not names:
        raise InputError('nothing to evaluate: give a test set, such as --imagenet-r DIR')
    if cfg.model.get('teacher', None) is not None:
        cfg.model.teacher = None
    model_name = Path(cfg.filename).stem if cfg.filename else cfg.model.type
    digests = dict(config_sha256=config_sha256(cfg), checkpoint_sha256=file_sha256(checkpoint))
    cfg.load_from, cfg.resume = None, False
    work_dir = Path(work_dir)
    cfg.work_dir = str(work_dir / 'log')
    loaders = {name: _loader_config(cfg, name, folders.get(name), sizes[name]) for name in names}
    runner = build_runner(cfg, launcher)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        built = {name: Runner.build_dataloader(loader) for name, loader in loaders.items()}
    classes = {name: _classes(name, built[name].dataset, model) for name in names}
    states = {kind: classifier_state(content, kind) for kind in {weights[name] for name in names}}
    for state, _ in states.values():
        load_weights(model, dict(state_dict=state), checkpoint)
    info = {'name': model_name, 'checkpoint': checkpoint, **digests}
    if 'imagenet_c' in names:
        sweep = _sweep(
            runner,
            built['imagenet_c'],
            folders['imagenet_c'],
            work_dir / 'imagenet_c',
            _with_protocol(info, cfg, loaders['imagenet_c'], states[weights['imagenet_c']][1]),
            overwrite,
        )

    for name in names:
        if name != 'imagenet_c':  # the sweep tries its own
            try_model(lambda batch: _logits(model.eval(), batch), built[name], name)
    results = {
        'schema': SCHEMA,
        'created': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        'model': info,
        'test_sets': {},
    }
    for name in names:
        state, used = states[weights[name]]
        load_weights(model, dict(state_dict=state), checkpoint)  # loads it
        row = {'size': _crop_size(loaders[name]), 'weights': used}
        if name == 'imagenet_c':
            row |= _sweep_values(sweep.run())
            if is_main_process():
                write_report(work_dir / 'imagenet_c' / RESULTS, work_dir / 'imagenet_c')
        else:
            row |= _accuracy(model, built[name], classes[name])
        results['test_sets'][name] = row
        if is_main_process():
            write_whole(work_dir / FILE, json.dumps(results, indent=2) + '\n')
    return results


def _loader_config(cfg: Config, name: str, folder: str | None, size: int | None) -> dict:
    """The config's test loader, reading another folder at another size."""
    loader = copy.deepcopy(cfg.test_dataloader)
    dataset = loader.dataset
    if size is not None:
        _resize(dataset.pipeline, size)
    if folder is not None and not Path(folder).is_dir():
        raise InputError(f'{name}: no such folder: {folder}')
    if name in FOLDER_SETS:
        loader.dataset = dict(
            type='CustomDataset', data_root=folder, with_label=True, pipeline=dataset.pipeline
        )
    loader.setdefault('collate_fn', dict(type='default_collate'))
    loader.persistent_workers = False
    return loader


def _resize(pipeline: list[dict], size: int) -> None:
    """Crop ``size`` pixels from a picture whose short side keeps the ratio to the crop."""
    crop = _centre_crop(pipeline)
    if crop is not None and crop['crop_size'] == size:
        return
    edge = next((step for step in pipeline if step['type'] == 'ResizeEdge'), None)
    if crop is None or crop['type'] == 'EfficientNetCenterCrop' or edge is None:
        own = '' if crop is None else f', --size SET={crop["crop_size"]} keeps its own'
        raise InputError(f'{size} pixels need ResizeEdge and CenterCrop in the test pipeline{own}')
    edge['scale'] = int(size * edge['scale'] / crop['crop_size'])
    crop['crop_size'] = size


def _crop_size(loader: dict) -> int | None:
    crop = _centre_crop(loader.dataset.get('pipeline', []))
    return None if crop is None else crop['crop_size']


def _centre_crop(pipeline: list[dict]) -> dict | None:
    steps = (step for step in pipeline if str(step['type']).endswith('CenterCrop'))
    return next((step for step in steps if 'crop_size' in step), None)  # not torchvision's


def _classes(name: str, dataset: Any, model: nn.Module) -> list[int] | None:
    """The class of every label; None where labels are classes."""
    if name not in FOLDER_SETS:
        return None
    try:
        classes = FOLDER_SETS[name].classes(list(dataset.CLASSES))
    except InputError as error:
        raise InputError(f'{dataset.data_root}: {error}') from None
    empty = set(range(len(classes))) - {int(label) for label in dataset.get_gt_labels()}
    if empty:
        folder = Path(dataset.data_root, dataset.CLASSES[min(empty)])
        raise InputError(f'{folder} has no images')
    outputs = getattr(model.head, 'num_classes', 1000)
    if outputs != 1000:
        raise InputError(
            f'{FOLDER_SETS[name].name} needs a classifier of 1000 classes, not {outputs}'
        )
    return classes


@torch.no_grad()
def _accuracy(model: nn.Module, loader: Any, classes: list[int] | None) -> dict[str, Any]:
    """Top-1 and top-5 in per cent, in float32; every rank evaluates a part of the images."""
    rank, world_size = get_dist_info()
    total = len(loader.dataset)
    part = torch.utils.data.Subset(loader.dataset, range(rank, total, world_size))
    part = torch.utils.data.DataLoader(
        part,
        batch_size=batch_size_of(loader),
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
    )
    model.eval()
    right = torch.zeros(2, dtype=torch.long)
    for batch in part:
        logits, labels = _logits(model, batch)
        chosen = range(logits.shape[1]) if classes is None else classes
        right += torch.tensor(correct_counts(logits, labels, chosen))
    all_reduce(right)
    top1, top5 = (100 * count / total for count in right.tolist())
    return {'top1': top1, 'top5': top5, 'samples': total}


@torch.no_grad()
def _logits(model: nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits ``(N, C)`` in float32 and labels ``(N,)`` of a batch."""
    data = model.data_preprocessor(batch, False)
    logits = model(data['inputs'], mode='tensor').float()
    return logits, torch.cat([sample.gt_label for sample in data['data_samples']])


def _with_protocol(info: Mapping[str, Any], cfg: Config, loader: dict, used: str) -> dict[str, Any]:
    """What tells the cells of a model from those of another input size or of other weights."""
    cfg = copy.deepcopy(cfg)
    cfg.test_dataloader = loader
    return {
        'name': info['name'],
        'config': cfg.filename,
        'config_sha256': config_sha256(cfg),
        'checkpoint': f'{info["checkpoint"]} ({used} weights)',
        'checkpoint_sha256': f'{used} {info["checkpoint_sha256"]}',
    }


def _sweep(
    runner: Runner,
    loader: Any,
    root: str,
    work_dir: Path,
    model_info: dict[str, Any],
    overwrite: bool,
) -> RobustnessSweep:
    """The sweep over ImageNet-C in its original folders, which finds every mistake in them."""
    sweep = RobustnessSweep(
        runner.model,
        loader,
        runner.test_loop.evaluator,
        benchmark='imagenet-c',
        corrupted_root=root,
        work_dir=work_dir,
        overwrite=overwrite,
        model_info=model_info,
    )
    if overwrite and is_main_process():
        remove_report(work_dir)
    return sweep


def _sweep_values(results: Mapping[str, Any]) -> dict[str, Any]:
    """Mean, retention and mCE, None if cells are missing."""
    summary = results['summary']
    found = {
        name: summary[name]['value'] for name in ('mean', 'retention', 'mCE') if name in summary
    }
    return found | {'clean': summary['clean'], 'samples': results['dataset']['samples']}


def missing_values(results: Mapping[str, Any]) -> list[str]:
    """What could not be computed, such as 'imagenet_c: mCE'."""
    return [
        f'{name}: {value}'
        for name, row in results['test_sets'].items()
        for value in row
        if row[value] is None and value != 'size'
    ]


def table_row(results: Mapping[str, Any]) -> str:
    """The results as a Markdown table of one row, headed like the paper's Table 11."""
    heads, cells = ['model'], [results['model']['name']]
    for name, row in results['test_sets'].items():
        if name == 'imagenet_c':
            heads += ['C, mCE (lower is better)', 'C, mean']
            # errors relative to AlexNet's exist for ImageNet's 1000 classes only
            cells.append(_number(row['mCE']) if 'mCE' in row else 'undefined')
            cells.append(_number(row['mean']))
        else:
            heads.append('clean' if name == 'clean' else FOLDER_SETS[name].name)
            cells.append(_number(row['top1']))
    notes = [
        f'{name}: {row["size"]} pixels, {row["weights"]} weights, {row["samples"]} images'
        for name, row in results['test_sets'].items()
    ]
    return '\n'.join([markdown_table(heads, [cells]), *notes])


def _number(value: float | None) -> str:
    return 'incomplete' if value is None else f'{value:.1f}'
