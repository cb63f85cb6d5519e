"""What ``tools/test_ood.py`` does with segmenters and detectors: one model on real adverse conditions.

Each condition of each set is the clean cell of a `RobustnessSweep` in a folder of its own, so that it is
stored, gone on with and dealt to processes as any cell is. All of them are made, and checked, before the
first one runs; `fan_mm.evaluation.shifts` joins what they hold.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.runner.amp import autocast

from fan_mm.config_parts import datasets_of, metrics_of, scope_of, type_name
from fan_mm.datasets.shifts import SHIFT_SETS, Condition, ShiftSet
from fan_mm.engine.building import building
from fan_mm.engine.config_checks import check_data
from fan_mm.engine.dataset_checks import classes_of
from fan_mm.engine.distributed import rank_of
from fan_mm.engine.first_batch import check_outputs, load_samples, try_model, without_losses
from fan_mm.engine.once_for_all import by_one_of_each_machine, by_rank_0
from fan_mm.engine.onnx_file import read_checkpoint
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError
from fan_mm.evaluation import RobustnessSweep
from fan_mm.evaluation.cells import CLEAN
from fan_mm.evaluation.identity import config_sha256
from fan_mm.evaluation.probabilities import probabilities_of
from fan_mm.evaluation.results import PER_IMAGE, RESULTS, write_with_arrays
from fan_mm.evaluation.samples import spread
from fan_mm.evaluation.shifts import (
    CLEAN_COLUMN,
    Measured,
    SetInfo,
    ShiftCell,
    join,
    pictures_of,
)
from fan_mm.evaluation.submission import SERVERS, Submission
from fan_mm.evaluation.sweep import check_options
from fan_mm.evaluation.temperature import Temperature
from fan_mm.fileio import alone_in
from fan_mm.jobs.model_classes import check_classes, classes_known
from fan_mm.jobs.ood_submission import Withheld, submit, try_withheld
from fan_mm.jobs.robustness import use_annotated_split
from fan_mm.jobs.testing import model_info, ready_to_test
from fan_mm.jobs.training_pictures import training_pictures
from fan_mm.report import remove_report, write_report
from fan_mm.report.painters import painter
from fan_mm.stopping import telling

TASKS = {'mmseg': 'segmentation', 'mmdet': 'detection'}
HEADLINES = {'segmentation': 'mIoU', 'detection': 'bbox_mAP'}
CLEAN_SETS = {'segmentation': 'Cityscapes', 'detection': 'COCO'}
CONDITIONS = 'conditions'  # folder below the work dir
_LOOKED_AT = 3  # samples of each condition
_COCO_METRICS = ('CocoMetric', 'FastCocoMetric', 'FasterCocoMetric')


@dataclass(frozen=True, eq=False)
class Part:
    """What one sweep evaluates: a condition, or the clean column.

    Attributes:
        cell: which.
        loader: config of its loader.
        evaluator: config of its metric.
        condition: as it was found; None for the clean column.
    """

    cell: ShiftCell
    loader: ConfigDict
    evaluator: ConfigDict
    condition: Condition | None = None

    def folder(self, work_dir: Path) -> Path:
        """Where its sweep is stored."""
        words = list(self.cell)
        if self.cell == CLEAN_COLUMN:
            words = ['clean']
        elif self.condition and self.condition.split != SHIFT_SETS[self.cell.set].splits[0]:
            words.insert(1, Path(self.condition.split).stem)
        return work_dir / CONDITIONS / '_'.join(words).replace('/', '-')

    @property
    def title(self) -> str:
        """For lines that a user reads, such as 'ACDC fog'."""
        if self.condition is None:
            return 'clean column'
        name = '' if self.cell.condition == 'all' else f' {self.cell.condition}'
        return f'{SHIFT_SETS[self.cell.set].title}{name}'


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
    save_images: int = 0,
    submission: str | None = None,
    fit_temperature: int = 0,
    **options: Any,
) -> dict[str, Any]:
    """Evaluate a segmenter or detector on sets of real adverse conditions, and write the report.

    Args:
        cfg: any config of mmseg with the 19 Cityscapes classes, or of mmdet; changed in place.
        checkpoint: path of the weights, or their http(s) address; or a file of ``tools/export.py``.
        folders: set (a key of ``SHIFT_SETS``) -> folder.
        work_dir: where results and report go, and from where a stopped evaluation goes on.
        launcher: 'none', 'pytorch', 'slurm' or 'mpi'.
        splits: of sets, where it shall not be their default.
        encodings: of a set's labels, where it leaves a choice.
        cityscapes: folder of Cityscapes, whose validation split becomes the clean column, and from
            where sets that are made of it have their labels.
        clean: evaluate the clean column: Cityscapes, or else the config's own test split.
        save_images: number of samples of each condition whose pictures are kept.
        submission: folder for what servers take: the predictions of splits whose labels are withheld.
        fit_temperature: number of training pictures that a temperature is fitted on, for calibration.
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
        raise InputError('--max-samples: a server takes all pictures of a split')
    task = _task_of(cfg)
    found = _find(folders, task, splits or {}, encodings or {}, cityscapes, submission)
    withheld = {name: cs for name, cs in found.items() if _is_withheld(cs)}
    found = {name: cs for name, cs in found.items() if name not in withheld}
    content = read_checkpoint(checkpoint)
    notes = use_annotated_split(cfg)
    work_dir = Path(work_dir)
    info = model_info(cfg, checkpoint)
    parts = _parts(cfg, task, found, cityscapes, clean and bool(found))
    unlabelled = _parts(cfg, task, withheld, None, False)
    _check_classes(cfg, content, [*parts, *unlabelled])
    first = (parts or unlabelled)[0]
    cfg.test_dataloader = copy.deepcopy(first.loader)
    cfg.test_evaluator = copy.deepcopy(first.evaluator)
    cfg.work_dir = str(work_dir / 'log')
    try:
        runner, loop = ready_to_test(cfg, content, checkpoint, launcher, notes)
    except InputError as error:
        raise InputError(_named(str(error), first) if first.condition else str(error)) from None
    fp16 = getattr(loop, 'fp16', False)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if fit_temperature:
        probabilities_of(model, task)  # before anything is said of the training split
        options['fit_on'] = training_pictures(cfg, fit_temperature)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        _check_data(cfg, parts, launcher)
        sweeps = {
            part: _sweep(cfg, runner, loop, part, task, work_dir, info, save_images, options)
            for part in parts
        }
        submissions = _submissions(cfg, unlabelled, submission, info) if submission else []
        if options.get('overwrite') and is_main_process():
            remove_report(work_dir)
            for name in (RESULTS, PER_IMAGE):
                (work_dir / name).unlink(missing_ok=True)
        _try(model, sweeps, fp16)
        for split in submissions:
            try_withheld(split, model, fp16)
        with telling(lambda: _how_to_go_on(sweeps, options)):
            cells = _run_all(sweeps)
            done = [submit(split, model, fp16) for split in submissions]
    if not sweeps:
        return {'submissions': done}
    results = by_rank_0(
        lambda: _write(work_dir, task, found, sweeps, cells, info, options.get('max_samples')),
        work_dir,
    )
    last = sweeps[parts[-1]]
    loop.dataloader = last.loader(last.cells)  # LoggerHook says its length
    runner.call_hook('after_test_epoch', metrics=_scalars(results))
    runner.call_hook('after_test')
    runner.call_hook('after_run')
    if is_main_process():
        write_report(work_dir / RESULTS, work_dir)
    barrier()
    return results | {'submissions': done}


# ------------------------------------------------------------------------------------------- sets


def set_for(name: str, task: str) -> ShiftSet:
    """The record that an option names: of ACDC, pictures with label maps, or with boxes for detectors.

    Raises:
        InputError: there is none for models of this task.
    """
    records = [SHIFT_SETS[n] for n in (name, f'{name}_boxes') if n in SHIFT_SETS]
    if not records:
        raise InputError(f'sets are {", ".join(SHIFT_SETS)}, not {name!r}')
    for record in records:
        if record.task == task:
            return record
    models = {'segmentation': 'segmenters', 'detection': 'detectors'}
    raise InputError(
        f'{records[0].title} is for {models[records[0].task]}, but the config is for {models[task]}'
    )


def _task_of(cfg: Config) -> str:
    scope = scope_of(cfg)
    if scope not in TASKS:
        raise InputError(
            'real adverse conditions are for segmenters of the 19 Cityscapes classes and for '
            f'detectors, but the config is for {scope or "another library"}'
        )
    return TASKS[scope]


def _find(
    folders: Mapping[str, str],
    task: str,
    splits: Mapping[str, str],
    encodings: Mapping[str, str],
    cityscapes: str | None,
    submission: str | None,
) -> dict[str, tuple[Condition, ...]]:
    """The conditions of every set, by the names of the records."""
    if not folders:
        raise InputError('nothing to evaluate: give a set, such as --acdc DIR')
    for what, given in (('split', splits), ('encoding', encodings)):
        for name in given.keys() - folders.keys():
            option = f'--{name.replace("_", "-")}'
            raise InputError(f'--{what} {name}={given[name]}: give {option} DIR, too')
    found = {}
    for name, folder in folders.items():
        record = set_for(name, task)
        of_cityscapes = getattr(record, 'labels_from', '') == 'Cityscapes'
        conditions = record.find(
            Path(folder).expanduser(),
            splits.get(name),
            Path(cityscapes).expanduser() if cityscapes and of_cityscapes else None,
            encodings.get(name),
        )
        if _is_withheld(conditions):
            _check_server(record, conditions[0].split, submission)
        found[record.name] = conditions
    return found


def _is_withheld(conditions: Sequence[Condition]) -> bool:
    return not any(c.labels or c.ann_file for c in conditions)


def _check_server(record: ShiftSet, split: str, submission: str | None) -> None:
    """Check that predictions of a split without labels have somewhere to go."""
    with_labels = next((s for s in record.splits if s not in record.withheld), None)
    other = f'--split {record.name}={with_labels} has labels' if with_labels else ''
    if not submission:
        raise InputError(
            f'the labels of {record.title} {split} are withheld: --submission DIR writes what its '
            f'server takes, {other}'
        )
    if record.name not in SERVERS or split not in ('test', 'testing'):
        raise InputError(
            f'{record.title} {split} has no labels here, and no server is known that takes its '
            f'predictions: {other}'
        )


def _parts(
    cfg: Config,
    task: str,
    found: Mapping[str, Sequence[Condition]],
    cityscapes: str | None,
    clean: bool,
) -> list[Part]:
    """The clean column and every condition."""
    loader = cfg.test_dataloader
    if clean and cityscapes and task == 'segmentation':
        loader = _loader(cfg, _cityscapes(cityscapes))
    elif clean:
        _check_clean_is_there(loader, task)
    parts = [Part(CLEAN_COLUMN, loader, _evaluator(cfg, task))] if clean else []
    for name, conditions in found.items():
        for condition in conditions:
            dataset = SHIFT_SETS[name].dataset(condition)
            parts.append(
                Part(
                    ShiftCell(name, condition.name),
                    _loader(cfg, dataset),
                    _evaluator(cfg, task, condition),
                    condition,
                )
            )
    return parts


def _cityscapes(folder: str) -> dict[str, Any]:
    """The validation split of Cityscapes, wherever below a folder."""
    record = SHIFT_SETS['cityscapes']
    (condition,) = record.find(Path(folder).expanduser())
    return record.dataset(condition)


def _check_clean_is_there(loader: Mapping, task: str) -> None:
    """Find out now that the clean column's data are not here, and say what may stand in their place."""
    for place, dataset in datasets_of('test_dataloader.dataset', loader['dataset']):
        root = dataset.get('data_root')
        if root and '://' not in root and not Path(root).expanduser().is_dir():
            other = '--cityscapes DIR, or ' if task == 'segmentation' else ''
            raise InputError(
                f'the clean column is the test split of the config, but there is no {place}.data_root '
                f'{root}: give {other}--no-clean'
            )


def _loader(cfg: Config, dataset: Mapping[str, Any]) -> ConfigDict:
    """The config's test loader, reading another dataset with the same pipeline."""
    loader = copy.deepcopy(cfg.test_dataloader)
    pipelines = [d.get('pipeline') for _, d in datasets_of('', loader.dataset)]
    if not pipelines or not pipelines[0]:
        raise InputError('test_dataloader.dataset has no pipeline to read pictures with')
    if any(pipeline != pipelines[0] for pipeline in pipelines):
        raise InputError('the test datasets have several pipelines: keep one dataset')
    loader.dataset = ConfigDict(dataset, pipeline=pipelines[0])
    loader.persistent_workers = False
    return loader


def _evaluator(cfg: Config, task: str, condition: Condition | None = None) -> ConfigDict:
    """MIoU as mmseg has it; box mAP as the config computes it, from the condition's own file."""
    if task == 'segmentation':
        return ConfigDict(type='mmseg.IoUMetric', iou_metrics=['mIoU'])
    own = [m for m in metrics_of(cfg.test_evaluator) if isinstance(m, dict)]
    metric = next((copy.deepcopy(m) for m in own if type_name(m) in _COCO_METRICS), None)
    metric = metric or ConfigDict(type='mmdet.CocoMetric')
    metric['metric'] = 'bbox'
    if condition is not None:
        metric['ann_file'] = str(condition.ann_file)
    return metric


# ------------------------------------------------------------------------------------- preparation


def _check_classes(cfg: Config, content: object, parts: Sequence[Part]) -> None:
    """Check that the model knows the classes of every set, before it is built.

    Raises:
        InputError: it does not.
    """
    cfg.default_scope = scope_of(cfg)
    register_task_library(cfg)
    with DefaultScope.overwrite_default_scope(cfg.default_scope), building(cfg):
        known = classes_known(cfg.model, cfg.test_dataloader.dataset, content)
        for part in parts:
            if part.condition is not None:
                classes = classes_of(part.title, part.loader.dataset)
                check_classes(known, classes or (), SHIFT_SETS[part.cell.set].title)


def _check_data(cfg: Config, parts: Sequence[Part], launcher: str) -> None:
    """Look into the files of every condition.

    Raises:
        InputError: the first mistake, under the name of its set.
    """

    def check() -> list[str]:
        notes = []
        for part in parts:
            if part.condition is None:
                continue  # the config's own, checked with it
            given = Config(dict(cfg._cfg_dict))
            given.test_dataloader, given.test_evaluator = part.loader, part.evaluator
            try:
                with building(given):
                    found = check_data(given, training=False)
            except InputError as error:
                raise InputError(_named(str(error), part)) from None
            notes += [_named(note, part) for note in found]
        return notes

    for note in (
        check() if launcher == 'none' else by_one_of_each_machine(check, rank_of(launcher)[2])
    ):
        print_log(f'fan_mm: {note}', 'current')


def _named(line: str, part: Part) -> str:
    """A line about a place in the config, about a condition."""
    for place in ('test_dataloader.dataset', 'test_dataloader', 'test_evaluator'):
        line = line.replace(place, part.title)
    return line


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
    given = Config(dict(cfg._cfg_dict))
    given.test_dataloader, given.test_evaluator = part.loader, part.evaluator
    try:
        with building(given):
            loader = Runner.build_dataloader(copy.deepcopy(part.loader))
        return RobustnessSweep(
            runner.model,
            loader,
            copy.deepcopy(part.evaluator),
            benchmark='all',
            corruptions=(),
            work_dir=part.folder(work_dir),
            fp16=getattr(loop, 'fp16', False),
            model_info={**info, 'config_sha256': config_sha256(given)},
            save_images=save_images,
            paint=painter(task, getattr(loader.dataset, 'metainfo', {})),
            **options,
        )
    except InputError as error:
        raise InputError(_named_once(str(error), part)) from None


def _named_once(line: str, part: Part) -> str:
    return line if part.title in line else f'{part.title}: {line}'


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


@torch.no_grad()
def _try(model: BaseModel, sweeps: Mapping[Part, RobustnessSweep], fp16: bool) -> None:
    """Load some samples of each condition that is not done, and let the model predict a set's first batch.

    Raises:
        InputError: a sample cannot be loaded, or the model cannot take the batch.
    """
    tried = set()

    def step(batch: Any) -> None:
        with autocast(enabled=fp16):
            check_outputs(without_losses(model.eval().test_step(batch)))

    done = by_rank_0(lambda: [part.cell for part, sweep in sweeps.items() if sweep.stored()])
    for part, sweep in sweeps.items():
        if part.cell in done:
            continue
        few = [sweep.samples[i] for i in spread(len(sweep.samples), _LOOKED_AT)]
        load_samples(sweep.clean_loader.dataset, few, part.title)
        if part.cell.set not in tried:
            tried.add(part.cell.set)
            try_model(step, sweep.clean_loader, part.title)


# -------------------------------------------------------------------------------------- evaluation


def _run_all(sweeps: Mapping[Part, RobustnessSweep]) -> dict[Part, dict[str, Any]]:
    """Evaluate every condition; a temperature is fitted once."""
    cells = {}
    temperature: Temperature | None = None
    for part, sweep in sweeps.items():
        if temperature is not None and sweep.calibration:
            sweep.calibration.use(temperature)
        cells[part] = _run(part, sweep)
        temperature = sweep.calibration.temperature if sweep.calibration else None
    return cells


def _run(part: Part, sweep: RobustnessSweep) -> dict[str, Any]:
    """Evaluate a condition; returns its cell as the sweep's results have it, and their audit."""
    print_log(f'{part.title}: {len(sweep.samples)} pictures', 'current')
    try:
        results = sweep.run()
    except InputError as error:
        raise InputError(_named_once(str(error), part)) from None
    return {**results['cells'][0], 'audit': results['audit']}


def _measured(
    part: Part, sweep: RobustnessSweep, cell: Mapping[str, Any], work_dir: Path
) -> Measured:
    """What a sweep holds, on rank 0."""
    record = copy.deepcopy(sweep.store.get(CLEAN))
    below = part.folder(work_dir).relative_to(work_dir)
    record.images = [
        {name: text if name == 'key' else str(below / text) for name, text in image.items()}
        for image in record.images
    ]
    pictures = pictures_of(sweep.clean_loader.dataset, sweep.samples)
    condition = part.condition
    return Measured(
        cell=part.cell,
        record=record,
        total=sweep.total,
        unlabelled=tuple(path.name for path in condition.unlabelled) if condition else (),
        **pictures._asdict(),
        statistics=sweep.store.statistics(CLEAN) if record.status == 'done' else None,
        calibration=cell.get('calibration'),
        audit=cell['audit'],
    )


def _set_info(record: ShiftSet, conditions: Sequence[Condition]) -> SetInfo:
    encodings = sorted({c.encoding for c in conditions if c.encoding})
    return SetInfo(
        title=record.title,
        split=conditions[0].split,
        scored=conditions[0].scored or None,
        weather=record.weather,
        effective=record.name == 'coco_o',
        told={
            'type': record.dataset_type,
            'folder': str(conditions[0].folder),
            'encodings': encodings,
            'made_of': getattr(record, 'labels_from', '') or None,
            'protocol': record.protocol,
            'source': record.source,
            'licence': record.licence,
            'notes': list(dict.fromkeys(note for c in conditions for note in c.notes)),
        },
    )


def _write(
    work_dir: Path,
    task: str,
    found: Mapping[str, Sequence[Condition]],
    sweeps: Mapping[Part, RobustnessSweep],
    cells: Mapping[Part, Mapping[str, Any]],
    info: Mapping[str, Any],
    max_samples: int | None,
) -> dict[str, Any]:
    """Join what the sweeps hold, and write it, on rank 0."""
    work_dir.mkdir(parents=True, exist_ok=True)
    some = next(iter(sweeps.values()))
    palette = some.metainfo.get('palette')
    classes = [str(name) for name in some.metainfo.get('classes') or ()]
    first = next(iter(sweeps))
    with alone_in(work_dir):
        results, arrays = join(
            measured=[_measured(p, sweep, cells[p], work_dir) for p, sweep in sweeps.items()],
            sets={name: _set_info(SHIFT_SETS[name], cs) for name, cs in found.items()},
            task=task,
            headline=HEADLINES[task],
            model=info,
            dataset={
                'type': _name_of(some.clean_loader.dataset) if first.condition is None else None,
                'classes': classes,
                'palette': [[int(v) for v in colour] for colour in palette[: len(classes)]]
                if isinstance(palette, list | tuple)
                else None,
            },
            protocol={'max_samples': max_samples, **_calibration_of(some)},
        )
        write_with_arrays(work_dir, results, {PER_IMAGE: arrays})
    return results


def _calibration_of(sweep: RobustnessSweep) -> dict[str, Any]:
    """How calibration was measured, the same in every condition; nothing where it was not."""
    if not sweep.calibration:
        return {}
    return {'calibration': sweep.calibration.about()}


def _name_of(dataset: Any) -> str:
    """A dataset's class; of one that reads a set, which: 'Cityscapes val'."""
    shift = getattr(dataset, 'shift', None)
    if not isinstance(shift, ShiftSet):
        return type(dataset).__name__
    return f'{shift.title} {dataset.split or shift.splits[0]}'


def failed_conditions(results: Mapping[str, Any]) -> list[str]:
    """Names of the conditions without a result, with their errors."""
    return [
        f'{cell["set"]} {cell["condition"]}: {cell["error"] or cell["status"]}'
        for cell in results.get('cells', ())
        if cell['status'] != 'done'
    ]


def _how_to_go_on(sweeps: Mapping[Part, RobustnessSweep], options: Mapping[str, Any]) -> str:
    without = ' without --overwrite' if options.get('overwrite') else ''
    stored = sum(bool(sweep.stored()) for sweep in sweeps.values())
    return f'{stored} of {len(sweeps)} conditions are stored; the same command{without} goes on'


def _numbers(results: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    for name, entry in results['sets'].items():
        for what in ('pooled', 'mean_of_conditions'):
            yield f'{name}/{what}', entry[what]['score']['value']


def _scalars(results: Mapping[str, Any]) -> dict[str, float]:
    """The headline numbers for mmengine's logs."""
    return {f'ood/{name}': value for name, value in _numbers(results) if value is not None}
