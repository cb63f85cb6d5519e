"""results.json of real adverse conditions: what the conditions' sweeps hold, joined after each of them."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from fan_mm.datasets.shifts import SHIFT_SETS, Condition, ShiftSet
from fan_mm.evaluation import RobustnessSweep
from fan_mm.evaluation.average_precision import KINDS, Matches
from fan_mm.evaluation.calibration.of_shifts import add_calibration
from fan_mm.evaluation.cells import CLEAN
from fan_mm.evaluation.class_names import palette_of
from fan_mm.evaluation.results import CALIBRATION, PER_IMAGE, write_with_arrays
from fan_mm.evaluation.shifts.measured import Measured, Pictures, pictures_of
from fan_mm.evaluation.shifts.pooling import Pooled, PooledAP, PooledIoU
from fan_mm.evaluation.shifts.results import join
from fan_mm.evaluation.shifts.scores import SetInfo
from fan_mm.fileio import alone_in
from fan_mm.jobs.shifts.parts import Part, dataset_label
from fan_mm.logs import warn

_PART = 'scores of this part are not comparable with those published for the whole'
_HEADLINES = {'segmentation': 'mIoU', 'detection': 'bbox_mAP'}


class ShiftResults:
    """The results of one command, on rank 0.

    Args:
        work_dir: of the command.
        task: 'segmentation' or 'detection'.
        found: set -> its conditions.
        sweeps: of the clean column, if there is one, and of every condition.
        model: as for `fan_mm.evaluation.results.build_results`.
        max_samples: of each condition; None for all.
    """

    def __init__(
        self,
        work_dir: Path,
        task: str,
        found: Mapping[str, Sequence[Condition]],
        sweeps: Mapping[Part, RobustnessSweep],
        model: Mapping[str, Any],
        max_samples: int | None,
    ) -> None:
        self.work_dir, self.task, self.sweeps = work_dir, task, sweeps
        self.model, self.max_samples = model, max_samples
        self.sets = {name: _set_info(SHIFT_SETS[name], cs) for name, cs in found.items()}
        for part, sweep in list(sweeps.items())[:1]:
            published = _published(sweep.clean_loader.dataset) if part.condition is None else None
            if published not in (None, sweep.total):
                text = f'the clean column has {sweep.total} of {published} images: {_PART}'
                warn(text)

    @cached_property
    def pictures(self) -> dict[Part, Pictures]:
        """Of every condition, evaluated or not yet."""
        return {
            part: pictures_of(part.cell, sweep.clean_loader.dataset, sweep.samples)
            for part, sweep in self.sweeps.items()
        }

    @cached_property
    def settings(self) -> dict[Part, dict[str, Any]]:
        """Of every condition's metric."""
        return {part: sweep.metric_settings() for part, sweep in self.sweeps.items()}

    @cached_property
    def pooled(self) -> Pooled:
        """The images of the conditions that are done; whatever is still to come, drawn alike."""
        kind = {'segmentation': PooledIoU, 'detection': PooledAP}[self.task]
        return kind({part.cell: pictures.scenes for part, pictures in self.pictures.items()})

    def write(self, audits: Mapping[Part, Mapping[str, Any]]) -> dict[str, Any]:
        """Join what the sweeps hold so far, write it, and return the content of results.json."""
        self.work_dir.mkdir(parents=True, exist_ok=True)
        first, some = next(iter(self.sweeps.items()))
        classes = [str(name) for name in some.metainfo.get('classes') or ()]
        with alone_in(self.work_dir):
            measured = [self._measured(part, audits.get(part)) for part in self.sweeps]
            results, arrays = join(
                measured=measured,
                sets=self.sets,
                task=self.task,
                headline=_HEADLINES[self.task],
                model=self.model,
                dataset={
                    'type': dataset_label(some.clean_loader.dataset)
                    if first.condition is None
                    else None,
                    'published': _published(some.clean_loader.dataset)
                    if first.condition is None
                    else None,
                    'classes': classes,
                    'palette': palette_of(some.metainfo, len(classes)),
                },
                protocol={'max_samples': self.max_samples, **_calibration_of(some)},
                pooled=self.pooled,
            )
            variants = some.calibration.variants if some.calibration else ()
            calibration = add_calibration(results, measured, variants)
            files = {PER_IMAGE: arrays, CALIBRATION: calibration}
            write_with_arrays(
                self.work_dir,
                results,
                {name: None if a is None else a.items() for name, a in files.items()},
            )
        return results

    def _measured(self, part: Part, audit: Mapping[str, Any] | None) -> Measured:
        """What the sweep of a condition holds."""
        sweep, condition = self.sweeps[part], part.condition
        record = copy.deepcopy(sweep.store.get(CLEAN))
        below = part.folder(self.work_dir).relative_to(self.work_dir)
        record.images = [
            {name: text if name == 'key' else str(below / text) for name, text in image.items()}
            for image in record.images
        ]
        done, read = record.status == 'done', sweep.store.statistics
        if done and part.cell not in self.pooled:
            statistics = _matches(read) if self.task == 'detection' else read(CLEAN)
            if statistics is not None:
                self.pooled.statistics[part.cell] = statistics
        return Measured(
            cell=part.cell,
            record=record,
            total=sweep.total,
            unlabelled=tuple(path.name for path in condition.unlabelled) if condition else (),
            **self.pictures[part]._asdict(),
            statistics=self.pooled.statistics.get(part.cell),
            calibration=read(CLEAN, 'calibration') if done else None,
            audit=audit,
            settings=self.settings[part],
        )


def _matches(read: Callable[..., np.ndarray | None]) -> dict[str, Matches] | None:
    """What a sweep stored of boxes and masks; None if nothing."""
    matches = {kind: Matches.read(partial(read, CLEAN), kind) for kind in KINDS}
    return {kind: found for kind, found in matches.items() if found is not None} or None


def _set_info(record: ShiftSet, conditions: Sequence[Condition]) -> SetInfo:
    encodings = sorted({c.encoding for c in conditions if c.encoding})
    notes = [note for c in conditions for note in c.notes]
    if lacking := record.lacking(conditions):
        notes.append(
            f'{conditions[0].folder} contains nothing of {", ".join(lacking)}: pooled and mean cover only the '
            f'others, and are not comparable with published ones of {record.title}'
        )
        warn(notes[-1])
    published = record.published(conditions)
    if parts := _other_counts(conditions, published):
        notes.append(
            f'{conditions[0].folder} has {", ".join(parts)} of {record.title} {conditions[0].split}: {_PART}'
        )
        warn(notes[-1])
    return SetInfo(
        title=record.title,
        split=conditions[0].split,
        scored=conditions[0].scored or None,
        # references are of the same places in good weather
        weather=dict.fromkeys(record.weather, 'clear')
        if conditions[0].split.endswith('_ref')
        else record.weather,
        effective=record.name == 'coco_o' and not lacking,
        published=published,
        told={
            'type': record.dataset_type,
            'folder': str(conditions[0].folder),
            'encodings': encodings,
            'made_of': getattr(record, 'labels_from', '') or None,
            'protocol': record.protocol,
            'source': record.source,
            'licence': record.licence,
            'notes': list(dict.fromkeys(notes)),
        },
    )


def _published(dataset: Any) -> int | None:
    """The published number of images of the split of a clean column; None if unknown."""
    shift = getattr(dataset, 'shift', None)
    if not isinstance(shift, ShiftSet) or dataset.conditions not in (None, ['all']):
        return None
    counts = shift.counts.get(dataset.split or shift.splits[0])
    return counts if isinstance(counts, int) else None


def _other_counts(conditions: Sequence[Condition], published: Mapping[str, int]) -> list[str]:
    """The conditions whose number of images differs from the published one, or else all together."""
    found = {c.name: len(c.images) for c in conditions}
    if not published.keys() & found.keys() and 'all' in published:
        found = {'all': sum(found.values())}
    return [
        f'{count} of {published[name]} images{"" if name == "all" else f" ({name})"}'
        for name, count in found.items()
        if published.get(name, count) != count
    ]


def _calibration_of(sweep: RobustnessSweep) -> dict[str, Any]:
    """How calibration was measured, the same in every condition; nothing where it was not."""
    if not sweep.calibration:
        return {}
    return {'calibration': sweep.calibration.about()}


def failed_conditions(results: Mapping[str, Any]) -> list[str]:
    """Names of the conditions without a result, with their errors."""
    return [
        f'{cell["set"]} {cell["condition"]}: {cell["error"] or cell["status"]}'
        for cell in results.get('cells', ())
        if cell['status'] != 'done'
    ]


def headline_scalars(results: Mapping[str, Any]) -> dict[str, float]:
    """The headline numbers for mmengine's logs."""
    return {
        f'ood/{name}/{what}': value
        for name, entry in results['sets'].items()
        for what in ('pooled', 'mean_of_conditions')
        if (value := entry[what]['score']['value']) is not None
    }
