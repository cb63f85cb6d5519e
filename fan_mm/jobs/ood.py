"""What ``tools/test_ood.py`` does with classifiers: one on ImageNet and its out-of-distribution test sets."""

import copy
import datetime
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, get_dist_info, is_main_process
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import Tensor, nn

from fan_mm.config_parts import scope_of
from fan_mm.engine import build_runner
from fan_mm.engine.distributed import unwrapped
from fan_mm.engine.first_batch.samples import load_samples, one_line
from fan_mm.engine.first_batch.trial import try_model
from fan_mm.engine.machines import refuse_differences
from fan_mm.engine.once_for_all import by_rank_0
from fan_mm.engine.onnx_file import is_onnx, read_checkpoint
from fan_mm.engine.weights import load_weights
from fan_mm.errors import InputError, about
from fan_mm.evaluation import RobustnessSweep
from fan_mm.evaluation.cell_dataset import CellBatches, batch_size_of, loader_like, sample_infos
from fan_mm.evaluation.consistency import seal
from fan_mm.evaluation.identity import config_sha256, dataset_sha256
from fan_mm.evaluation.imagenet_subsets import FOLDER_SETS, correct_counts
from fan_mm.evaluation.loading.pictures import refuse_cut_pictures
from fan_mm.evaluation.results import RESULTS
from fan_mm.fileio import write_whole
from fan_mm.jobs.imagenet_sets import build_loader, classes_of, loader_config
from fan_mm.jobs.input_size import crop_size
from fan_mm.jobs.ood_lines import missing_values, table_row
from fan_mm.jobs.ood_rows import is_stored, stored_rows
from fan_mm.jobs.set_calibration import SetCalibration
from fan_mm.jobs.testing import check_normalised, model_info, refuse_other_weights
from fan_mm.jobs.training_pictures import training_pictures
from fan_mm.models.conversion import classifier_state
from fan_mm.report import remove_report, write_report

__all__ = ['FILE', 'TEST_SETS', 'evaluate_ood', 'missing_values', 'table_row']

SCHEMA = 'fan_mm.ood/1'
FILE = 'ood.json'
IMAGENET_C = 'imagenet-c'  # the benchmark
TEST_SETS = ('clean', *FOLDER_SETS, 'imagenet_c')
# As the released scripts evaluate (spec 12.1, 12.2): ImageNet-A at 384 (STL's script: 224), averaged
# weights for ImageNet-R. None is the config's own size, and the weights that all tools test: those in
# state_dict, which are plain in a released file, and averaged in that of a training with EMAHook.
SIZES: dict[str, int | None] = dict.fromkeys(TEST_SETS) | {'imagenet_a': 384}
WEIGHTS: dict[str, str | None] = dict.fromkeys(TEST_SETS) | {'imagenet_r': 'ema'}
LARGEST = 4096  # pixels
_OTHER_TASKS = ('mmseg', 'mmdet')


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
    calibration: bool = False,
    fit_temperature: int = 0,
) -> dict[str, Any]:
    """Evaluate a classifier, a row of the FAN paper's Table 11, and write ``ood.json``.

    The file is written after every test set, and the same command continues after the finished ones; with
    calibration, which may be fitted on other images, only ImageNet-C is.

    Args:
        cfg: of any classifier that ``tools/test.py`` evaluates, whose test split is ImageNet's
            validation set; modified in place.
        checkpoint: path of the weights, or a file of ``tools/export.py``, which has one kind of weights.
        folders: test set (a key of `TEST_SETS`, not 'clean') to its folder.
        work_dir: folder for the results; a sweep over ImageNet-C continues where it stopped.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        sizes: input size of test sets in pixels, where it shall not be that of `SIZES`.
        weights: 'ema' or 'model' of test sets, where it shall not be that of `WEIGHTS`.
        clean: evaluate the clean validation set too.
        overwrite: forget what ``work_dir`` holds: the sweep over ImageNet-C, and the test sets that are done.
        calibration: measure ECE, NLL and Brier score of every set too.
        fit_temperature: number of training images that a temperature is fitted on, for each test set
            with its weights and input size; implies ``calibration``.

    Returns:
        The content of the file, on every rank.

    Raises:
        InputError: a mistake in the config, a folder, a file or an option, before anything is
            evaluated.
    """
    if weights and is_onnx(checkpoint):
        raise InputError(f'--weights: {checkpoint} contains only the exported weights')
    names, pixels, kinds = _chosen(cfg, folders, sizes or {}, weights or {}, clean)
    content = read_checkpoint(checkpoint)
    if cfg.model.get('teacher', None) is not None:
        cfg.model.teacher = None
    info = model_info(cfg, checkpoint)
    cfg.load_from, cfg.resume = None, False
    work_dir = Path(work_dir)
    cfg.work_dir = str(work_dir / 'log')
    configs = {name: loader_config(cfg, name, folders.get(name), pixels[name]) for name in names}
    runner = build_runner(cfg, launcher)
    refuse_other_weights(checkpoint)
    check_normalised(cfg, content, checkpoint)
    model = unwrapped(runner.model)
    loaders = {name: build_loader(name, configs[name], scope_of(cfg)) for name in names}
    classes = {name: classes_of(name, loaders[name].dataset) for name in names}
    states = {
        kind: _weights(content, kind, model, checkpoint) for kind in {kinds[n] for n in names}
    }
    sets = [
        _TestSet(name, configs[name], loaders[name], classes[name], *states[kinds[name]])
        for name in names
    ]
    _try(sets, model, checkpoint)
    calibrated = None
    if calibration or fit_temperature:
        calibrated = _calibration(model, cfg, sets, fit_temperature)
    sweep = None
    if last := next((s for s in sets if s.name == 'imagenet_c'), None):
        described = _with_protocol(info, cfg, last.config, last.used)
        root, own_dir = folders[last.name], work_dir / last.name
        sweep = _sweep(runner, last.loader, root, own_dir, described, overwrite, calibrated)
    stored: dict[str, Any] = {}
    if not calibrated and not overwrite:
        stored = by_rank_0(lambda: stored_rows(work_dir / FILE, info), work_dir)
    return _evaluate(sets, model, info, sweep, calibrated, stored, work_dir)


@dataclass(frozen=True)
class _TestSet:
    """A test set that is ready to be evaluated.

    Attributes:
        name: one of `TEST_SETS`.
        config: of its loader.
        loader: its batches.
        classes: the class of every label; None where labels are classes.
        weights: of the model, as a checkpoint's content.
        used: which they are.
    """

    name: str
    config: dict
    loader: Any
    classes: list[int] | None
    weights: object
    used: str

    def row(self) -> dict[str, Any]:
        """What its scores depend on."""
        return {
            'protocol': _protocol(self.name, self.loader.dataset),
            'size': crop_size(self.config),
            'weights': self.used,
        }


def _evaluate(
    sets: Sequence[_TestSet],
    model: nn.Module,
    info: Mapping[str, Any],
    sweep: RobustnessSweep | None,
    calibrated: SetCalibration | None,
    stored: Mapping[str, Any],
    work_dir: Path,
) -> dict[str, Any]:
    """Evaluate one test set after the other, and write ``ood.json`` after each."""
    results: dict[str, Any] = {
        'schema': SCHEMA,
        'created': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        'model': {name: value for name, value in info.items() if name != 'config'},
        'test_sets': {},
    }
    if calibrated:
        results['probabilities'] = calibrated.probabilities
    for test_set in sets:
        load_weights(model, test_set.weights, str(info['checkpoint']))
        results['test_sets'][test_set.name] = (
            test_set.row() | _swept(sweep, work_dir / test_set.name)
            if sweep and test_set.name == 'imagenet_c'
            else _measured(test_set, model, stored, calibrated, work_dir)
        )
        results['seal'] = seal(results['test_sets'])  # for `stored_rows`
        if is_main_process():
            write_whole(work_dir / FILE, json.dumps(results, indent=2) + '\n')
    return results


def _calibration(
    model: nn.Module, cfg: Config, sets: Sequence[_TestSet], fit_temperature: int
) -> SetCalibration:
    """Create what measures calibration, with the images on which the temperatures of the sets are fitted."""
    calibrated = SetCalibration(model, fit_temperature)
    for test_set in sets if fit_temperature else ():
        pictures = training_pictures(cfg, fit_temperature, test_set.config)
        calibrated.add_pictures(test_set.name, pictures)
        calibrated.check_apart(test_set.name, test_set.loader.dataset)
    return calibrated


def _swept(sweep: RobustnessSweep, work_dir: Path) -> dict[str, Any]:
    """Run the sweep over ImageNet-C, and write its report; returns its values."""
    found = _sweep_values(sweep.run())
    if is_main_process():
        write_report(work_dir / RESULTS, work_dir)
    return found


def _measured(
    test_set: _TestSet,
    model: nn.Module,
    stored: Mapping[str, Any],
    calibrated: SetCalibration | None,
    work_dir: Path,
) -> dict[str, Any]:
    """The row of a set of images, from an earlier run if it is stored."""
    row = test_set.row()
    name = test_set.name
    dataset = test_set.loader.dataset

    def content() -> str:  # as a sweep knows a dataset: names, sizes and labels, bytes of a sample
        return dataset_sha256(dataset, sample_infos(dataset, range(len(dataset))))

    refuse_differences(f'the images of {name}', lambda: content()[:8], 'copy the same data to all')
    row['sha256'] = by_rank_0(content, work_dir)
    if is_stored(row, stored.get(name, {})):
        print_log(f'{name}: stored in {work_dir / FILE}', 'current')
        return stored[name]
    return row | _accuracy(name, model, test_set.loader, test_set.classes, calibrated)


def _chosen(
    cfg: Config,
    folders: Mapping[str, str],
    sizes: Mapping[str, int],
    weights: Mapping[str, str],
    clean: bool,
) -> tuple[list[str], dict[str, int | None], dict[str, str | None]]:
    """The test sets to be evaluated, in order, and the input size and weights of every set.

    Raises:
        InputError: a name, size or kind that there is not, or nothing to evaluate.
    """
    pixels, kinds = SIZES | dict(sizes), WEIGHTS | dict(weights)
    for name in {*folders, *pixels, *kinds}:
        if name not in TEST_SETS:
            raise InputError(f'the test set must be one of {", ".join(TEST_SETS)}, not {name!r}')
    if set(kinds.values()) - {None, 'ema', 'model'}:
        raise InputError("weights must be 'ema' or 'model'")
    scope = scope_of(cfg)
    if scope in _OTHER_TASKS:
        raise InputError(
            f'the ImageNet test sets are for classifiers, but the config is for {scope}'
        )
    for name, size in pixels.items():
        if size is not None and not 1 <= size <= LARGEST:
            raise InputError(f'{name}: {size} pixels, but sizes must be 1 to {LARGEST}')
    names = ['clean'] * clean + [name for name in TEST_SETS if name in folders]
    if not names:
        raise InputError('nothing to evaluate: give a test set, such as --imagenet-r DIR')
    return names, pixels, kinds


def _try(sets: Sequence[_TestSet], model: nn.Module, checkpoint: str) -> None:
    """Find what would fail later: weights that do not fit, first batches, images that are cut short.

    Raises:
        InputError: something would.
    """
    for weights in {test_set.used: test_set.weights for test_set in sets}.values():
        load_weights(model, weights, checkpoint)
    for test_set in sets:
        _check_first_batch(test_set.name, model, test_set.loader)
        if test_set.name != 'imagenet_c':  # the sweep checks its own images
            refuse_cut_pictures(test_set.loader.dataset)


def _weights(
    content: object, kind: str | None, model: nn.Module, source: str
) -> tuple[object, str]:
    """The averaged, plain or usual weights as a checkpoint's content, and which they are."""
    if is_onnx(source):
        return content, 'exported'
    with about(source):
        state, used = classifier_state(content, kind, model)
    meta = content.get('meta') if isinstance(content, Mapping) else None
    return dict(state_dict=state, meta=meta), used


@torch.no_grad()
def _predict(model: BaseModel, batch: Any) -> tuple[Tensor, Tensor]:
    """Scores (B, K) and labels (B,) of a batch.

    Raises:
        InputError: the model gives no scores of classes, or the images have no label each.
    """
    samples = model.test_step(batch)
    scores: list[Any] = [getattr(sample, 'pred_score', None) for sample in samples]
    if not all(isinstance(score, Tensor) and score.ndim == 1 for score in scores):
        raise InputError(
            f'{type(model).__name__} returns no pred_score, a score for each class, and cannot be '
            'evaluated on the ImageNet test sets'
        )
    labels: list[Any] = [getattr(sample, 'gt_label', None) for sample in samples]
    if not all(isinstance(label, Tensor) and label.numel() == 1 for label in labels):
        raise InputError('some images do not have exactly one label, which PackInputs adds')
    return torch.stack(scores).float(), torch.cat([label.reshape(1) for label in labels])


def _check_first_batch(name: str, model: nn.Module, loader: Any) -> None:
    """Let the model predict once, so that failures show before the long part.

    Raises:
        InputError: it cannot take these images, or has other classes than they.
    """

    def step(batch: Any) -> None:
        scores, labels = _predict(model.eval(), batch)
        outputs = scores.shape[1]
        if name in FOLDER_SETS and outputs != 1000:
            raise InputError(
                f'{FOLDER_SETS[name].name} needs a classifier of 1000 classes, not {outputs}'
            )
        if not torch.isfinite(scores).all():
            raise InputError(f'{name}: the scores of the first images are NaN or infinite')
        if int(labels.max()) >= outputs:
            raise InputError(
                f'{name}: a label is {int(labels.max())}, but the model has {outputs} classes'
            )

    try_model(step, loader, name)


class _Readable(torch.utils.data.Dataset):
    """A dataset that says which file it cannot read."""

    def __init__(self, dataset: Any, name: str) -> None:
        self.dataset, self.name = dataset, name

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return load_samples(self.dataset, [index], self.name)[0]


@torch.no_grad()
def _accuracy(
    name: str,
    model: nn.Module,
    loader: Any,
    classes: list[int] | None,
    calibrated: SetCalibration | None,
) -> dict[str, Any]:
    """Top-1 and top-5 in per cent, and calibration; every rank evaluates a part of the batches.

    Probabilities are those of the set's classes, adding up to 1.
    """
    if calibrated:
        calibrated.begin(name, loader)
    rank, world_size = get_dist_info()
    total = len(loader.dataset)
    part = CellBatches([0], total, batch_size_of(loader), rank, world_size)
    model.eval()
    right = torch.zeros(2, dtype=torch.long)
    try:
        batches = loader_like(loader, _Readable(loader.dataset, name), part)
        for positions, batch in zip(part.batches, batches, strict=True):
            scores, labels = _predict(model, batch)
            if not torch.isfinite(scores).all():
                raise InputError(f"{name}: the model's scores are NaN or infinite")
            chosen = range(scores.shape[1]) if classes is None else classes
            if not scores[:, chosen].any(1).all():
                raise InputError(
                    f'{name}: the scores of all classes of the test set are 0, so none is the best'
                )
            right += torch.tensor(correct_counts(scores, labels, chosen))
            if calibrated:
                calibrated.add(positions, scores, labels, chosen)
    except InputError as error:  # a worker's is a whole traceback
        raise InputError(one_line(error)) from None
    all_reduce(right)
    top1, top5 = (100 * count / total for count in right.tolist())
    found = {'top1': top1, 'top5': top5, 'samples': total}
    return found | (calibrated.end() if calibrated else {})


def _with_protocol(info: Mapping[str, Any], cfg: Config, loader: dict, used: str) -> dict[str, Any]:
    """The model of a sweep, distinguished by its input size and kind of weights."""
    cfg = copy.deepcopy(cfg)
    cfg.test_dataloader = loader
    return {
        **info,
        'config_sha256': config_sha256(cfg),
        'checkpoint': f'{info["checkpoint"]} ({used} weights)',
        'checkpoint_sha256': f'{used} {info["checkpoint_sha256"]}',
    }


def _sweep(
    runner: Runner,
    loader: Any,
    root: str,
    work_dir: Path,
    described: dict[str, Any],
    overwrite: bool,
    calibrated: SetCalibration | None,
) -> RobustnessSweep:
    """The sweep over ImageNet-C in its original folders, which finds every mistake in them."""
    sweep = RobustnessSweep(
        runner.model,
        loader,
        runner.test_loop.evaluator,
        benchmark=IMAGENET_C,
        corrupted_root=root,
        work_dir=work_dir,
        overwrite=overwrite,
        model_info=described,
        calibration=calibrated is not None,
        fit_on=calibrated and calibrated.pictures.get('imagenet_c'),
    )
    if overwrite and is_main_process():
        remove_report(work_dir)
    return sweep


def _protocol(name: str, dataset: Any) -> str:
    """The name of the protocol of a row; with size and weights it identifies the row."""
    if name == 'imagenet_c':
        return IMAGENET_C
    return FOLDER_SETS[name].name if name in FOLDER_SETS else type(dataset).__name__


def _sweep_values(results: Mapping[str, Any]) -> dict[str, Any]:
    """Mean, retention and mCE, None if cells are missing; and the audit."""
    summary = results['summary']
    found = {
        name: summary[name]['value'] for name in ('mean', 'retention', 'mCE') if name in summary
    }
    found |= {'clean': summary['clean'], 'samples': results['dataset']['samples']}
    found['audit'] = results['audit']
    if calibration := results.get('calibration'):
        found['calibration'] = calibration['summary']
    return found
