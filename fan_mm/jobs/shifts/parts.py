"""What is evaluated: each condition, and the clean column, with its loader and its metric; and its checks."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import DefaultScope

from fan_mm.config_parts import datasets_of, metrics_of, scope_of, type_name
from fan_mm.datasets.shifts import SHIFT_SETS, Condition, ShiftSet
from fan_mm.engine.checks.datasets import classes_of
from fan_mm.engine.config.building import building
from fan_mm.engine.config_checks import check_data
from fan_mm.engine.distributed import rank_of
from fan_mm.engine.once_for_all import by_one_of_each_machine
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError
from fan_mm.evaluation.shifts.pooling import CLEAN_COLUMN, ShiftCell
from fan_mm.jobs.model_classes import check_classes, classes_known
from fan_mm.logs import warn

CONDITIONS = 'conditions'  # folder below the work dir
_COCO_METRICS = ('CocoMetric', 'FastCocoMetric', 'FasterCocoMetric')


@dataclass(frozen=True, eq=False)
class Part:
    """What one sweep evaluates: a condition, or the clean column.

    Attributes:
        cell: which.
        loader: config of its loader.
        evaluator: config of its metric.
        condition: as it was found; None for the clean column.
        column: what the clean column is, if not the config's own split: 'cityscapes', 'acdc_val_ref'.
    """

    cell: ShiftCell
    loader: ConfigDict
    evaluator: ConfigDict
    condition: Condition | None = None
    column: str = ''

    def folder(self, work_dir: Path) -> Path:
        """Where its sweep is stored; each clean column in its own place, so that another can be added."""
        words = list(self.cell)
        if self.condition is None:
            words = ['clean', self.column] if self.column else ['clean']
        elif self.condition.split != SHIFT_SETS[self.cell.set].splits[0]:
            words.insert(1, Path(self.condition.split).stem)
        return work_dir / CONDITIONS / '_'.join(words).replace('/', '-')

    def config(self, cfg: Config) -> Config:
        """A config with this part as its test split."""
        given = Config(dict(cfg._cfg_dict))
        given.test_dataloader, given.test_evaluator = self.loader, self.evaluator
        return given

    def protocol(self, dataset: Any) -> str:
        """The name of what is measured: 'ACDC val: fog', of the clean column 'Cityscapes val'."""
        if self.condition is None:
            return dataset_label(dataset)
        title = f'{SHIFT_SETS[self.cell.set].title} {Path(self.condition.split).name}'
        return title if self.cell.condition == 'all' else f'{title}: {self.cell.condition}'

    @property
    def title(self) -> str:
        """For lines that a user reads, such as 'ACDC fog'."""
        if self.condition is None:
            return 'clean column'
        name = '' if self.cell.condition == 'all' else f' {self.cell.condition}'
        return f'{SHIFT_SETS[self.cell.set].title}{name}'


def dataset_label(dataset: Any) -> str:
    """A dataset's class; of one that reads a set, which: 'Cityscapes val'."""
    shift = getattr(dataset, 'shift', None)
    if not isinstance(shift, ShiftSet):
        return type(dataset).__name__
    return f'{shift.title} {dataset.split or shift.splits[0]}'


def parts_of(
    cfg: Config,
    task: str,
    found: Mapping[str, Sequence[Condition]],
    cityscapes: str | None,
    clean: bool,
    twin: Mapping[str, Any] | None = None,
) -> list[Part]:
    """The clean column and every condition.

    Args:
        cfg: the config.
        task: 'segmentation' or 'detection'.
        found: set -> its conditions.
        cityscapes: folder whose validation split is the clean column; None for the config's own.
        clean: whether there is such a column.
        twin: dataset that is the clean column in their place.
    """
    loader, column = cfg.test_dataloader, ''
    if clean and twin:
        loader, column = _loader(cfg, twin), f'{twin["shift"]}_{Path(twin["split"]).stem}'
    elif clean and cityscapes and task == 'segmentation':
        loader, column = _loader(cfg, _cityscapes(cityscapes)), 'cityscapes'
    elif clean:
        _check_clean_is_there(loader, task)
    scored = _boxes_and_masks(cfg, found) if task == 'detection' else []
    evaluator = _evaluator(cfg, task, scored)
    parts = [Part(CLEAN_COLUMN, loader, evaluator, column=column)] if clean else []
    for name, conditions in found.items():
        for condition in conditions:
            dataset = SHIFT_SETS[name].dataset(condition)
            parts.append(
                Part(
                    ShiftCell(name, condition.name),
                    _loader(cfg, dataset),
                    _evaluator(cfg, task, scored, condition),
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
        raise InputError('test_dataloader.dataset has no pipeline to read images')
    if any(pipeline != pipelines[0] for pipeline in pipelines):
        raise InputError('the test datasets have several pipelines: keep one dataset')
    loader.dataset = ConfigDict(dataset, pipeline=pipelines[0])
    loader.persistent_workers = False
    return loader


def _coco_metric(cfg: Config) -> ConfigDict | None:
    """The config's own COCO metric."""
    return next((m for m in metrics_of(cfg.test_evaluator) if type_name(m) in _COCO_METRICS), None)


def _boxes_and_masks(cfg: Config, found: Mapping[str, Sequence[Condition]]) -> list[str]:
    """What is scored: boxes; and masks, where the config's metric scores them and all objects have some."""
    asked = (_coco_metric(cfg) or {}).get('metric', 'bbox')
    if 'segm' not in ([asked] if isinstance(asked, str) else asked):
        return ['bbox']
    without = [c.ann_file for conditions in found.values() for c in conditions if not c.masks]
    if not without:
        return ['bbox', 'segm']
    warn(
        f"test_evaluator.metric: only boxes are scored, not 'segm': {without[0]} has objects without a mask"
    )
    return ['bbox']


def _evaluator(
    cfg: Config, task: str, scored: Sequence[str], condition: Condition | None = None
) -> ConfigDict:
    """MIoU as mmseg has it; mAP as the config computes it, from the condition's own file."""
    if task == 'segmentation':
        return ConfigDict(type='mmseg.IoUMetric', iou_metrics=['mIoU'])
    metric = copy.deepcopy(_coco_metric(cfg)) or ConfigDict(type='mmdet.CocoMetric')
    metric['metric'] = 'bbox' if scored == ['bbox'] else list(scored)  # as stored sweeps have it
    metric.pop('metric_items', None)  # without mAP there would be no score
    if condition is not None:
        metric['ann_file'] = str(condition.ann_file)
    return metric


def check_part_classes(cfg: Config, content: object, parts: Sequence[Part]) -> None:
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


def check_part_data(cfg: Config, parts: Sequence[Part], launcher: str) -> None:
    """Look into the files of every condition.

    Raises:
        InputError: the first mistake, under the name of its set.
    """

    def check() -> list[str]:
        notes = []
        for part in parts:
            if part.condition is None:
                continue  # the config's own, checked with it
            given = part.config(cfg)
            try:
                with building(given):
                    found = check_data(given, training=False)
            except InputError as error:
                raise InputError(named(str(error), part)) from None
            notes += [named(note, part) for note in found]
        return notes

    for note in (
        check() if launcher == 'none' else by_one_of_each_machine(check, rank_of(launcher)[2])
    ):
        print_log(f'fan_mm: {note}', 'current')


def named(line: str, part: Part) -> str:
    """A message about a place in the config, as one about a condition."""
    for place in ('test_dataloader.dataset', 'test_dataloader', 'test_evaluator'):
        line = line.replace(place, part.title)
    return line


def named_once(line: str, part: Part) -> str:
    """The same, with the condition's name before a line that does not have it yet."""
    return line if part.title in line else f'{part.title}: {line}'
