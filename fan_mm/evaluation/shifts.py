"""Scores on real adverse conditions: per condition, pooled over conditions, and as their mean.

Pooled is the score of all of a set's pictures together: of mIoU that of the sum of the conditions'
confusion matrices, as a test server reports 'all'. The mean of conditions is another number. Intervals
are percentile intervals of a bootstrap over scenes (Efron and Tibshirani, 1993, chapters 6 and 13):
conditions are resampled each for itself, and together where they show the same scenes (three densities
of one fog, Cityscapes with and without rain).
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fan_mm.corruptions import image_key
from fan_mm.evaluation.audit import joined
from fan_mm.evaluation.bootstrap import LEVEL, RESAMPLES, interval, mean_iou, resample_counts
from fan_mm.evaluation.cell_dataset import sample_infos
from fan_mm.evaluation.cells import CellRecord
from fan_mm.evaluation.metrics import retention
from fan_mm.evaluation.results import SHIFTS, environment, heading

POOLED, MEAN = 'pooled', 'mean_of_conditions'
_COCO_VAL = 5000  # pictures
EFFECTIVE_SLOPE = 0.45  # easyrobust #21: what a detector's COCO mAP predicts of its mean on COCO-O


class ShiftCell(NamedTuple):
    """A condition of a set; `CLEAN_COLUMN` is the clean column."""

    set: str
    condition: str

    def __str__(self) -> str:
        return self.set if self == CLEAN_COLUMN else f'{self.set}/{self.condition}'


CLEAN_COLUMN = ShiftCell('clean', 'clean')


@dataclass(frozen=True)
class Measured:
    """What is known of one condition.

    Attributes:
        cell: which.
        record: its scores.
        total: pictures that it has, evaluated or not.
        unlabelled: names of pictures left out for want of a label.
        keys: ``(N,)`` names of the pictures evaluated.
        scenes: ``(N,)`` names of what they show; pictures of one scene are drawn together.
        statistics: ``(N, 2, C)`` pixels per class in intersection and union; None without.
        sha256: of the pictures and labels evaluated.
        calibration: as a cell of a sweep has it; None where it was not measured.
        audit: of its sweep.
    """

    cell: ShiftCell
    record: CellRecord
    total: int
    unlabelled: tuple[str, ...] = ()
    keys: np.ndarray | None = None
    scenes: np.ndarray | None = None
    statistics: np.ndarray | None = None
    sha256: str | None = None
    calibration: Mapping[str, Any] | None = None
    audit: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class SetInfo:
    """What results say about a set besides its scores.

    Attributes:
        title: such as 'ACDC'.
        split: that was evaluated.
        scored: positions of the classes that count; None for all.
        weather: condition -> 'fog', 'night' and so on.
        effective: whether its field reports `effective_robustness`.
        told: further entries for results.json: 'encoding', 'protocol', 'source' and so on.
    """

    title: str
    split: str
    scored: tuple[int, ...] | None = None
    weather: Mapping[str, str] = field(default_factory=dict)
    effective: bool = False
    told: Mapping[str, Any] = field(default_factory=dict)


def effective_robustness(mean: Any, clean: Any) -> Any:
    """``ER = mean - 0.45 * clean`` of COCO-O: mAP above what the mAP on COCO val2017 predicts.

    Args:
        mean: mAP over the six domains, per cent.
        clean: mAP on COCO val2017, per cent.
    """
    return mean - EFFECTIVE_SLOPE * clean


def strata(scenes: Mapping[ShiftCell, np.ndarray]) -> Iterator[tuple[ShiftCell, ...]]:
    """The cells that show some of the same scenes, directly or through others, together."""
    groups: list[tuple[set, list]] = []
    for cell, names in scenes.items():
        shown, together = set(names.tolist()), [cell]
        for group in [g for g in groups if not shown.isdisjoint(g[0])]:
            groups.remove(group)
            shown, together = shown | group[0], group[1] + together
        groups.append((shown, together))
    return (tuple(cells) for _, cells in groups)


def resampled_sums(
    statistics: Mapping[ShiftCell, np.ndarray],
    scenes: Mapping[ShiftCell, np.ndarray],
    resamples: int = RESAMPLES,
) -> dict[ShiftCell, np.ndarray]:
    """Sums ``(R, 2, C)`` over resampled scenes of every cell; the same for the same scenes.

    Args:
        statistics: per cell ``(N, 2, C)``.
        scenes: per cell ``(N,)``.
        resamples: R.
    """
    found: dict[ShiftCell, np.ndarray] = {}
    for cells in strata(scenes):
        names, places = np.unique(
            np.concatenate([scenes[cell] for cell in cells]), return_inverse=True
        )
        ends = np.cumsum([len(scenes[cell]) for cell in cells])[:-1]
        places = dict(zip(cells, np.split(places, ends), strict=True))
        digest = hashlib.sha256('\0'.join(names.tolist()).encode()).hexdigest()
        sums: dict[ShiftCell, list[np.ndarray]] = {cell: [] for cell in cells}
        for counts in resample_counts(len(names), resamples, int(digest[:12], 16)):
            for cell in cells:
                # whole numbers, exact in float64, in whatever order they are added
                flat = statistics[cell].reshape(len(places[cell]), -1).astype(np.float64)
                drawn = counts[:, places[cell]] @ flat
                sums[cell].append(drawn.reshape(len(counts), *statistics[cell].shape[1:]))
        found |= {cell: np.concatenate(parts) for cell, parts in sums.items()}
    return found


class SetScores:
    """The numbers of one set.

    Args:
        info: of the set.
        conditions: what was measured, in the set's order.
        clean: the clean column; None where it was not asked for.
        headline: name of the score.
        classes: names of the model's classes.
        draws: per cell sums of resamples (`resampled_sums`); without those that have none.
    """

    def __init__(
        self,
        info: SetInfo,
        conditions: Sequence[Measured],
        clean: Measured | None,
        headline: str,
        classes: Sequence[str],
        draws: Mapping[ShiftCell, np.ndarray],
    ) -> None:
        self.info, self.conditions, self.clean = info, conditions, clean
        self.headline, self.classes, self.draws = headline, list(classes), draws
        self.scored = list(range(len(classes)) if info.scored is None else info.scored)

    def results(self) -> dict[str, Any]:
        """The set's entry in results.json."""
        told = dict(self.info.told)
        if self.info.effective and self.clean is not None and self.clean.total != _COCO_VAL:
            told['notes'] = [
                *told.get('notes', ()),
                f'effective robustness: the clean column has {self.clean.total} pictures, and so is not COCO '
                f'val2017, which has {_COCO_VAL}.',
            ]
        return {
            'title': self.info.title,
            'split': self.info.split,
            **told,
            'samples': sum(m.record.samples for m in self.conditions),
            'total': sum(m.total for m in self.conditions),
            'unlabelled': sum(len(m.unlabelled) for m in self.conditions),
            'scored': [self.classes[i] for i in self.scored],
            'clean': None if self.clean is None else self._number([self.clean], self._alone),
            'conditions': {m.cell.condition: self._condition(m) for m in self.conditions},
            POOLED: self._pooled(),
            MEAN: self._mean(),
            'per_class': self._per_class(),
        }

    def score_of(self, measured: Measured) -> float | None:
        """The score of a cell over the classes of this set, per cent; None where there is none."""
        if measured.record.status != 'done':
            return None
        if measured.statistics is None:
            whole = len(self.scored) == len(self.classes)
            return measured.record.metrics.get(self.headline) if whole else None
        return _defined(self._iou(_sums(measured)))

    def _iou(self, sums: np.ndarray) -> np.ndarray:
        return mean_iou(sums[:, :, self.scored], 0)

    def _alone(self, scores: Sequence[Any], sums: Sequence[np.ndarray] | None) -> Any:
        return scores[0]

    def _condition(self, measured: Measured) -> dict[str, Any]:
        record = measured.record
        return {
            'weather': self.info.weather.get(measured.cell.condition),
            'score': self._number([measured], self._alone),
            'retention': self._retention([measured], self._alone),
            'samples': record.samples,
            'total': measured.total,
            'unlabelled': len(measured.unlabelled),
            'first_unlabelled': list(measured.unlabelled[:3]),
            'sha256': measured.sha256,
            **self._absent(measured),
        }

    def _absent(self, measured: Measured) -> dict[str, Any]:
        """Classes without ground truth: left out of the mean, or, where predicted, 0 in it as mmseg has it."""
        if measured.record.status != 'done' or measured.statistics is None:
            return {'absent': None, 'absent_but_predicted': None, 'score_of_present_classes': None}
        truth = measured.record.per_class.get('Acc', {})
        union = measured.statistics[:, 1].sum(axis=0)
        gone = [i for i in self.scored if truth.get(self.classes[i]) is None]
        present = [i for i in self.scored if i not in gone]
        sums = _sums(measured)[:, :, present]
        return {
            'absent': [self.classes[i] for i in gone if not union[i]],
            'absent_but_predicted': [self.classes[i] for i in gone if union[i]],
            'score_of_present_classes': _defined(mean_iou(sums, 0)) if present else None,
        }

    def _pooled(self) -> dict[str, Any]:
        if len(self.conditions) > 1 and any(
            m.record.status == 'done' and m.statistics is None for m in self.conditions
        ):
            why = f'{self.headline} is no function of sums over pictures: it is not pooled'
            nothing: dict = {'value': None, 'interval': None, 'complete': True, 'missing': []}
            return {'score': nothing, 'retention': None, 'reason': why}

        def pool(scores: Sequence[Any], sums: Any) -> Any:
            return scores[0] if len(scores) == 1 else self._iou(sum(sums))

        return {
            'score': self._number(self.conditions, pool),
            'retention': self._retention(self.conditions, pool),
            'reason': None,
        }

    def _mean(self) -> dict[str, Any]:
        def mean(scores: Sequence[Any], _: Any) -> Any:
            return sum(scores) / len(scores)

        found = {
            'score': self._number(self.conditions, mean),
            'retention': self._retention(self.conditions, mean),
        }
        if self.info.effective and self.clean is not None:
            found['effective_robustness'] = self._number(
                [*self.conditions, self.clean],
                lambda scores, _: effective_robustness(mean(scores[:-1], None), scores[-1]),
            )
        return found

    def _retention(
        self, cells: Sequence[Measured], formula: Callable[[Sequence, Sequence | None], Any]
    ) -> dict[str, Any] | None:
        """The same number relative to the clean column, per cent; None without such a column."""
        if self.clean is None:
            return None
        return self._number(
            [*cells, self.clean],
            lambda scores, sums: retention(
                formula(scores[:-1], None if sums is None else sums[:-1]), scores[-1]
            ),
        )

    def _number(
        self, cells: Sequence[Measured], formula: Callable[[Sequence, Sequence | None], Any]
    ) -> dict[str, Any]:
        """A number computed from cells, with its interval, or which cells it lacks."""
        scores = [self.score_of(measured) for measured in cells]
        missing = [str(m.cell) for m, score in zip(cells, scores, strict=True) if score is None]
        if missing:
            return {'value': None, 'interval': None, 'complete': False, 'missing': missing}
        whole = all(m.statistics is not None for m in cells)
        value = formula(scores, [_sums(m) for m in cells] if whole else None)
        bounds = None
        if whole and all(m.cell in self.draws for m in cells):
            sums = [self.draws[m.cell] for m in cells]
            bounds = interval(np.asarray(formula([self._iou(s) for s in sums], sums)))
        value = _defined(value)
        return {'value': value, 'interval': bounds, 'complete': True, 'missing': []}

    def _per_class(self) -> dict[str, dict[str, float | None]]:
        """Per-class values of all pictures together; of one condition its own."""
        done = [m for m in self.conditions if m.record.status == 'done']
        if len(done) < len(self.conditions):
            return {}
        if any(m.statistics is None for m in done):
            return dict(done[0].record.per_class) if len(done) == 1 else {}
        intersection, union = sum(_sums(m)[0] for m in done)
        return {
            'IoU': {
                self.classes[i]: round(100 * float(intersection[i] / union[i]), 4)
                if union[i]
                else None
                for i in self.scored
            }
        }


def join(
    *,
    measured: Sequence[Measured],
    sets: Mapping[str, SetInfo],
    task: str,
    headline: str,
    model: Mapping[str, Any],
    dataset: Mapping[str, Any],
    protocol: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, np.ndarray] | None]:
    """What results.json and per_image.npz hold.

    Args:
        measured: every condition of every set, and first the clean column where it was asked for.
        sets: their sets by name, in order.
        task: 'segmentation' or 'detection'.
        headline: name of the score.
        model: as for `fan_mm.evaluation.results.build_results`.
        dataset: 'type' of the clean column, 'classes', 'palette'.
        protocol: further entries, such as 'max_samples'.

    Returns:
        The content of results.json, and the arrays of per_image.npz, None without statistics.
    """
    arrays = _arrays(measured)
    draws = resampled_sums(
        {m.cell: m.statistics for m in measured if m.statistics is not None},
        {m.cell: m.scenes for m in measured if m.statistics is not None and m.scenes is not None},
    )
    clean = next((m for m in measured if m.cell == CLEAN_COLUMN), None)
    entries = {}
    for name, info in sets.items():
        conditions = [m for m in measured if m.cell.set == name]
        scores = SetScores(info, conditions, clean, headline, dataset['classes'], draws)
        entries[name] = scores.results()
    others = list(dict.fromkeys(n for m in measured for n in m.record.metrics if n != headline))
    return {
        **heading(SHIFTS),
        'task': task,
        'metric': {'name': headline, 'unit': '%', 'higher_is_better': True, 'others': others},
        'model': dict(model),
        'dataset': {
            **dataset,
            'samples': None if clean is None else clean.record.samples,
            'total': None if clean is None else clean.total,
            'sha256': None if clean is None else clean.sha256,
        },
        **protocol,
        'environment': environment(),
        'cells': [_public(m) for m in measured],
        'sets': entries,
        'bootstrap': {'resamples': RESAMPLES, 'level': LEVEL} if draws else None,
        'audit': joined({str(m.cell): m.audit for m in measured if m.audit}, str(CLEAN_COLUMN)),
        'gallery': [
            {'key': image['key'], **m.cell._asdict(), 'images': _pictures(image)}
            for m in measured
            for image in m.record.images
        ],
    }, arrays


class Pictures(NamedTuple):
    """What is known of the pictures of a cell.

    Attributes:
        keys: ``(N,)`` their names.
        scenes: ``(N,)`` names of what they show. Pictures with one label file show one scene: three fogs
            of one street.
        sha256: of names, sizes of the files and, of boxes, the labels, whatever dataset class reads them.
    """

    keys: np.ndarray
    scenes: np.ndarray
    sha256: str


def pictures_of(dataset: Any, samples: Sequence[int]) -> Pictures:
    """The pictures of a dataset of mmengine, those of some indices."""
    infos = sample_infos(dataset, samples)
    keys = [image_key(info['img_path']) for info in infos]
    scenes = [image_key(info.get('seg_map_path') or info['img_path']) for info in infos]
    content = [
        (key, _size(info['img_path']), _size(info.get('seg_map_path')), info.get('instances'))
        for key, info in zip(keys, infos, strict=True)
    ]
    digest = hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()
    return Pictures(np.array(keys), np.array(scenes), digest)


def _size(path: str | None) -> int | None:
    """Bytes of a file; None of one that is not on this machine."""
    try:
        return None if path is None else os.path.getsize(path)
    except OSError:
        return None


def read_statistics(
    arrays: Mapping[str, np.ndarray],
) -> tuple[dict[ShiftCell, np.ndarray], dict[ShiftCell, np.ndarray], dict[ShiftCell, np.ndarray]]:
    """Statistics, keys of the pictures and scenes by cell, from the arrays of per_image.npz."""
    found: dict[str, dict[ShiftCell, np.ndarray]] = {}
    for name, array in arrays.items():
        what, _, cell = name.partition('/')
        if cell:
            found.setdefault(what, {})[ShiftCell(*cell.split('/', 1))] = array
    return found.get('sums', {}), found.get('keys', {}), found.get('scenes', {})


def _arrays(measured: Sequence[Measured]) -> dict[str, np.ndarray] | None:
    arrays: dict[str, Any] = {}
    for m in measured:
        if m.statistics is not None:
            name = '/'.join(m.cell)
            arrays[f'sums/{name}'] = m.statistics
            arrays[f'keys/{name}'], arrays[f'scenes/{name}'] = m.keys, m.scenes
    return {'kind': np.array('iou'), **arrays} if arrays else None


def _public(measured: Measured) -> dict[str, Any]:
    """A cell of results.json."""
    cell = asdict(measured.record)
    # of the last two 'gallery' and 'audit' tell
    for name in ('corruption', 'severity', 'images', 'evidence'):
        del cell[name]
    if measured.calibration is not None:
        cell['calibration'] = dict(measured.calibration)
    return {**measured.cell._asdict(), **cell}


def _pictures(image: Mapping[str, str]) -> dict[str, str]:
    return {name: path for name, path in image.items() if name != 'key'}


def _sums(measured: Measured) -> np.ndarray:
    """``(1, 2, C)``."""
    assert measured.statistics is not None
    return measured.statistics.sum(axis=0, dtype=np.float64)[None]


def _defined(value: Any) -> float | None:
    value = float(np.ravel(value)[0])
    return None if np.isnan(value) else value
