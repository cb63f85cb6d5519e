"""One model, a segmenter or a detector, on real adverse conditions.

Each condition of each set is the clean cell of a `RobustnessSweep` in a folder of its own, so that it is
stored, gone on with and dealt to processes as any cell is. All of them are made, and checked, before the
first one runs; what they hold is joined and written after each.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import BaseLoop, Runner

from fan_mm.datasets.shifts import SHIFT_SETS
from fan_mm.datasets.shifts.paths import walked_once
from fan_mm.engine.config.building import building
from fan_mm.engine.distributed import unwrapped
from fan_mm.engine.first_batch.samples import load_samples
from fan_mm.engine.first_batch.trial import try_model
from fan_mm.engine.once_for_all import by_rank_0
from fan_mm.engine.onnx_file import read_checkpoint
from fan_mm.errors import InputError
from fan_mm.evaluation import RobustnessSweep
from fan_mm.evaluation.calibration.probabilities import probabilities_of
from fan_mm.evaluation.identity import config_sha256
from fan_mm.evaluation.results import CALIBRATION, PER_IMAGE, RESULTS
from fan_mm.evaluation.samples import spread
from fan_mm.evaluation.shifts.submission import Submission
from fan_mm.evaluation.sweep import check_options
from fan_mm.jobs.robustness import use_annotated_split
from fan_mm.jobs.shifts.parts import (
    Part,
    check_part_classes,
    check_part_data,
    named,
    named_once,
    parts_of,
)
from fan_mm.jobs.shifts.results import ShiftResults, headline_scalars
from fan_mm.jobs.shifts.sets import clean_dataset, find_sets, is_withheld, task_of
from fan_mm.jobs.shifts.submission import Withheld, predict, submit, try_withheld
from fan_mm.jobs.testing import end_test, model_info, ready_to_test
from fan_mm.jobs.training_pictures import training_pictures
from fan_mm.report import remove_report
from fan_mm.report.painters import painter
from fan_mm.stopping import telling

_LOOKED_AT = 3  # samples of each condition


@walked_once()
def evaluate_shifts(
    cfg: Config,
    checkpoint: str,
    folders: Mapping[str, str],
    work_dir: str | Path,
    launcher: str = 'none',
    *,
    splits: Mapping[str, str] | None = None,
    encodings: Mapping[str, str] | None = None,
    cityscapes: str | None = None,
    clean: bool = True,
    clean_split: Mapping[str, str] | None = None,
    save_images: int = 0,
    submission: str | None = None,
    fit_temperature: int = 0,
    **options: Any,
) -> dict[str, Any]:
    """Evaluate a segmenter or detector on sets of real adverse conditions, and write the report.

    Args:
        cfg: any config of mmseg with the 19 Cityscapes classes, or of mmdet; modified in place.
        checkpoint: path or http(s) URL of the weights, or a file exported by ``tools/export.py``.
        folders: set (a key of ``SHIFT_SETS``) -> folder.
        work_dir: folder for results and report, from which an interrupted evaluation resumes.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        splits: of sets, where it shall not be their default.
        encodings: of a set's labels, where it leaves a choice.
        cityscapes: folder of Cityscapes, whose validation split becomes the clean column, and from
            where datasets derived from it have their labels.
        clean: evaluate the clean column: Cityscapes, or else the config's own test split.
        clean_split: set -> a split of it that is the clean column: ``{'acdc': 'val_ref'}``, the same places
            in good weather.
        save_images: number of samples of each condition whose images are kept.
        submission: folder for what servers take: the predictions of splits whose labels are withheld.
        fit_temperature: number of training images for fitting a temperature, for calibration.
        **options: of `fan_mm.evaluation.RobustnessSweep`: 'max_samples' and so on.

    Returns:
        The content of results.json, and 'submissions', which alone is there where no split has labels; on
        every rank.

    Raises:
        InputError: a mistake in the config, a folder, a file or an option, before anything is
            evaluated.
    """
    check_options(**options)
    if submission and options.get('max_samples'):
        raise InputError('--max-samples: a server needs all images of a split')
    task = task_of(cfg)
    if clean_split and (task != 'segmentation' or not clean):
        raise InputError('--clean SET=SPLIT is for segmentation models, and excludes --no-clean')
    found = find_sets(folders, task, splits or {}, encodings or {}, cityscapes, submission)
    withheld = {name: cs for name, cs in found.items() if is_withheld(cs)}
    if submission and not withheld:
        raise InputError(
            '--submission: the labels of all splits are here; name one that has none, such as --split acdc=test'
        )
    found = {name: cs for name, cs in found.items() if name not in withheld}
    content = read_checkpoint(checkpoint)
    notes = use_annotated_split(cfg)
    work_dir = Path(work_dir)
    info = model_info(cfg, checkpoint)
    twin = clean_dataset(folders, clean_split or {}, encodings or {})
    parts = parts_of(cfg, task, found, cityscapes, clean and bool(found), twin)
    unlabelled = parts_of(cfg, task, withheld, None, False)
    check_part_classes(cfg, content, [*parts, *unlabelled])
    cfg.work_dir = str(work_dir / 'log')
    first = (parts or unlabelled)[0]
    runner, loop = _ready(cfg, first, content, checkpoint, launcher, notes)
    fp16 = getattr(loop, 'fp16', False)
    model = unwrapped(runner.model)
    if fit_temperature:
        probabilities_of(model, task)  # before any message about the training split
        options['fit_on'] = training_pictures(cfg, fit_temperature)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        check_part_data(cfg, parts, launcher)
        sweeps = {
            part: _sweep(cfg, runner, loop, part, task, work_dir, info, save_images, options)
            for part in parts
        }
        submissions = _submissions(cfg, unlabelled, submission, info) if submission else []
        if options.get('overwrite') and is_main_process():
            remove_report(work_dir)
            for name in (RESULTS, PER_IMAGE, CALIBRATION):
                (work_dir / name).unlink(missing_ok=True)
        _try(model, sweeps, fp16)
        for split in submissions:
            try_withheld(split, model, fp16)
        joined = ShiftResults(work_dir, task, found, sweeps, info, options.get('max_samples'))
        with telling(lambda: _how_to_go_on(sweeps, options)):
            results = _run_all(sweeps, joined)
            done = [submit(split, model, fp16) for split in submissions]
    if not sweeps:
        return {'submissions': done}
    end_test(runner, loop, sweeps[parts[-1]], headline_scalars(results), work_dir)
    return results | {'submissions': done}


# ------------------------------------------------------------------------------------- preparation


def _ready(
    cfg: Config, first: Part, content: object, checkpoint: str, launcher: str, notes: Sequence[str]
) -> tuple[Runner, BaseLoop]:
    """The Runner and its test loop, as of `ready_to_test`, made with the loader of the first part."""
    cfg.test_dataloader = copy.deepcopy(first.loader)
    cfg.test_evaluator = copy.deepcopy(first.evaluator)
    try:
        return ready_to_test(cfg, content, checkpoint, launcher, notes)
    except InputError as error:
        raise InputError(named(str(error), first) if first.condition else str(error)) from None


def _sweep(
    cfg: Config,
    runner: Runner,
    loop: Any,
    part: Part,
    task: str,
    work_dir: Path,
    info: Mapping[str, Any],
    save_images: int,
    options: Mapping[str, Any],
) -> RobustnessSweep:
    """The sweep over the clean cell alone of one condition."""
    given = part.config(cfg)
    try:
        with building(given):
            loader = Runner.build_dataloader(copy.deepcopy(part.loader))
        return RobustnessSweep(
            runner.model,
            loader,
            copy.deepcopy(part.evaluator),
            benchmark='all',
            protocol=part.protocol(loader.dataset),
            corruptions=(),
            work_dir=part.folder(work_dir),
            fp16=getattr(loop, 'fp16', False),
            model_info={**info, 'config_sha256': config_sha256(given)},
            save_images=save_images,
            paint=painter(getattr(loader.dataset, 'metainfo', {})),
            **options,
        )
    except InputError as error:
        raise InputError(named_once(str(error), part)) from None


def _submissions(
    cfg: Config, parts: Sequence[Part], folder: str, info: Mapping[str, Any]
) -> list[Withheld]:
    """What is to be predicted, with what was predicted before."""
    found = []
    for name in dict.fromkeys(part.cell.set for part in parts):
        own = [part for part in parts if part.cell.set == name]
        with building(cfg):
            loaders = [Runner.build_dataloader(copy.deepcopy(part.loader)) for part in own]
        identity = {key: info[key] for key in ('config_sha256', 'checkpoint_sha256')}
        condition = own[0].condition
        assert condition is not None
        title = f'{SHIFT_SETS[name].title} {condition.split}'
        found.append(Withheld(title, loaders, Submission(name, folder, identity)))
    return found


def _try(model: BaseModel, sweeps: Mapping[Part, RobustnessSweep], fp16: bool) -> None:
    """Load some samples of each condition that is not done, and let the model predict batches of a set.

    These are its first batch, and the first one of images of several sizes.

    Raises:
        InputError: a sample cannot be loaded, or the model cannot take the batch.
    """
    tried: dict[str, bool] = {}  # set -> whether there was a batch of images of several sizes

    def step(batch: Any) -> None:
        predict(model, batch, fp16)

    done = by_rank_0(lambda: [part.cell for part, sweep in sweeps.items() if sweep.stored()])
    for part, sweep in sweeps.items():
        if part.cell in done:
            continue
        few = [sweep.samples[i] for i in spread(len(sweep.samples), _LOOKED_AT)]
        load_samples(sweep.clean_loader.dataset, few, part.title)
        name = part.cell.set
        if not tried.get(name):
            first = name not in tried
            tried[name] = try_model(step, sweep.clean_loader, part.title, sweep.samples, first)


# -------------------------------------------------------------------------------------- evaluation


def _run_all(sweeps: Mapping[Part, RobustnessSweep], joined: ShiftResults) -> dict[str, Any]:
    """Evaluate every condition, and write what is known after each; a temperature is fitted once.

    Returns:
        The content of results.json, on every rank.
    """
    audits, temperature, results = {}, None, {}
    for part, sweep in sweeps.items():
        if temperature is not None and sweep.calibration:
            sweep.calibration.use(temperature)
        audits[part] = _run(part, sweep)
        temperature = sweep.calibration.temperature if sweep.calibration else None
        results = by_rank_0(lambda: joined.write(audits), joined.work_dir)
    return results


def _run(part: Part, sweep: RobustnessSweep) -> dict[str, Any]:
    """Evaluate a condition; returns the audit of its sweep."""
    print_log(f'{part.title}: {len(sweep.samples)} images', 'current')
    try:
        return sweep.run()['audit']
    except InputError as error:
        raise InputError(named_once(str(error), part)) from None


def _how_to_go_on(sweeps: Mapping[Part, RobustnessSweep], options: Mapping[str, Any]) -> str:
    without = ' without --overwrite' if options.get('overwrite') else ''
    number = sum(bool(sweep.stored()) for sweep in sweeps.values())
    stored = f'{number} of {len(sweeps)} conditions are stored; ' if is_main_process() else ''
    return f'{stored}the same command{without} continues'
