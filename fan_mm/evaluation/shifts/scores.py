"""Scores on real adverse conditions: per condition, pooled over conditions, and as their mean.

The pooled score is that of all images of a set together: mIoU is computed from the sum of the conditions'
confusion matrices, like a test server's 'all', and mAP from all detections ranked together. It differs from
the mean of conditions. `fan_mm.evaluation.shifts.pooling` computes the intervals.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fan_mm.evaluation.bootstrap import interval
from fan_mm.evaluation.metrics import mean, retention
from fan_mm.evaluation.shifts.measured import Measured
from fan_mm.evaluation.shifts.pooling import MEAN, POOLED, Pooled, ShiftCell

_COCO_VAL = 5000  # images
EFFECTIVE_SLOPE = 0.45  # easyrobust #21: expected mean on COCO-O divided by COCO mAP


@dataclass(frozen=True)
class SetInfo:
    """Information about a set in the results, besides its scores.

    Attributes:
        title: such as 'ACDC'.
        split: the split evaluated.
        scored: positions of the classes that are scored; None for all.
        weather: condition -> 'fog', 'night' and so on.
        effective: whether `effective_robustness` is usually reported for the set.
        published: number of images per condition, and 'all', in the complete set.
        told: further entries for results.json: 'encoding', 'protocol', 'source' and so on.
    """

    title: str
    split: str
    scored: tuple[int, ...] | None = None
    weather: Mapping[str, str] = field(default_factory=dict)
    effective: bool = False
    published: Mapping[str, int] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)


def effective_robustness(mean: Any, clean: Any) -> Any:
    """``ER = mean - 0.45 * clean`` of COCO-O: mAP above what the mAP on COCO val2017 predicts.

    Args:
        mean: mAP over the six domains, per cent.
        clean: mAP on COCO val2017, per cent.
    """
    return mean - EFFECTIVE_SLOPE * clean


class SetScores:
    """The scores of one set.

    Args:
        info: information about the set.
        conditions: the measured conditions, in the set's order.
        clean: the clean column; None if not requested.
        headline: name of the main score.
        classes: names of the model's classes.
        pooled: the images of the cells that have statistics.
    """

    def __init__(
        self,
        info: SetInfo,
        conditions: Sequence[Measured],
        clean: Measured | None,
        headline: str,
        classes: Sequence[str],
        pooled: Pooled,
    ) -> None:
        self.info, self.conditions, self.clean = info, conditions, clean
        self.headline, self.classes, self.pooled = headline, list(classes), pooled
        self.scored = list(range(len(classes)) if info.scored is None else info.scored)
        self.singly = [[measured] for measured in conditions]

    def results(self) -> dict[str, Any]:
        """The set's entry in results.json."""
        told = dict(self.info.told)
        if self.info.effective and self.clean is not None and self.clean.total != _COCO_VAL:
            told['notes'] = [
                *told.get('notes', ()),
                f'effective robustness: the clean column has {self.clean.total} images, so it is not COCO '
                f'val2017, which has {_COCO_VAL}.',
            ]
        return {
            'title': self.info.title,
            'split': self.info.split,
            **told,
            'samples': sum(m.record.samples for m in self.conditions),
            'total': sum(m.total for m in self.conditions),
            'unlabelled': sum(len(m.unlabelled) for m in self.conditions),
            'published': self.info.published.get('all'),
            'scored': [self.classes[i] for i in self.scored],
            **self.numbers(self._condition),
            'per_class': self._per_class(),
        }

    def numbers(
        self, of_condition: Callable[[Measured], dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """The set's numbers: 'clean', 'conditions', 'pooled' and 'mean_of_conditions'.

        Args:
            of_condition: function for its full entry; None for its numbers only.
        """
        of_condition = of_condition or self._of_condition
        return {
            'clean': None if self.clean is None else self._number([[self.clean]], mean),
            'conditions': {m.cell.condition: of_condition(m) for m in self.conditions},
            POOLED: self._pooled(),
            MEAN: self._mean(),
        }

    def draws(self) -> dict[ShiftCell, np.ndarray]:
        """Resampled scores ``(R,)`` of the conditions, and of all of them together."""
        cells = [m.cell for m in self.conditions]
        found = {c: self.pooled.drawn([c], self.scored) for c in cells if c in self.pooled}
        if len(found) == len(cells):
            found[ShiftCell(cells[0].set, POOLED)] = self.pooled.drawn(cells, self.scored)
        return found

    def _condition(self, measured: Measured) -> dict[str, Any]:
        record = measured.record
        return {
            'weather': self.info.weather.get(measured.cell.condition),
            **self._of_condition(measured),
            'samples': record.samples,
            'total': measured.total,
            'unlabelled': len(measured.unlabelled),
            'published': self.info.published.get(measured.cell.condition),
            'first_unlabelled': list(measured.unlabelled[:3]),
            'sha256': measured.sha256,
            **self._absent(measured),
        }

    def _of_condition(self, measured: Measured) -> dict[str, Any]:
        return {
            'score': self._number([[measured]], mean),
            'retention': self._retention([[measured]]),
        }

    def _absent(self, measured: Measured) -> dict[str, Any]:
        """Classes without ground truth: left out of the mean, or, where predicted, 0 in it as in mmseg."""
        if measured.cell not in self.pooled:
            return {'absent': None, 'absent_but_predicted': None, 'score_of_present_classes': None}
        truth = measured.record.per_class.get(self.pooled.truth, {})
        counted = ~np.isnan(self.pooled.per_class([measured.cell]))
        gone = [i for i in self.scored if truth.get(self.classes[i]) is None]
        present = [i for i in self.scored if i not in gone]
        score = self.pooled.score([measured.cell], present) if present else np.nan
        return {
            'absent': [self.classes[i] for i in gone if not counted[i]],
            'absent_but_predicted': [self.classes[i] for i in gone if counted[i]],
            'score_of_present_classes': _defined(score),
        }

    def _pooled(self) -> dict[str, Any]:
        if len(self.conditions) > 1 and any(
            m.record.status == 'done' and m.cell not in self.pooled for m in self.conditions
        ):
            why = f'of {self.headline} no data are stored per image: it is not pooled'
            nothing: dict[str, Any] = {
                'value': None,
                'interval': None,
                'complete': True,
                'missing': [],
            }
            return {'score': nothing, 'retention': None, 'reason': why}
        return {
            'score': self._number([self.conditions], mean),
            'retention': self._retention([self.conditions]),
            'reason': None,
        }

    def _mean(self) -> dict[str, Any]:
        found = {
            'score': self._number(self.singly, mean),
            'retention': self._retention(self.singly),
        }
        if self.info.effective and self.clean is not None:
            found['effective_robustness'] = self._number(
                [*self.singly, [self.clean]],
                lambda scores: effective_robustness(mean(scores[:-1]), scores[-1]),
            )
        return found

    def _retention(self, groups: Sequence[Sequence[Measured]]) -> dict[str, Any] | None:
        """The mean of scores relative to the clean column, per cent; None without such a column."""
        if self.clean is None:
            return None
        return self._number(
            [*groups, [self.clean]], lambda scores: retention(mean(scores[:-1]), scores[-1])
        )

    def _number(
        self, groups: Sequence[Sequence[Measured]], formula: Callable[[Sequence[Any]], Any]
    ) -> dict[str, Any]:
        """A number computed from scores, with its interval, or which cells it lacks.

        Args:
            groups: groups of cells, each pooled into one score.
            formula: function of these scores.
        """
        scores = [self._score(group) for group in groups]
        if None in scores:
            cells = [m for group in groups for m in group]
            missing = [m for m in cells if self._score([m]) is None]
            # A score that is undefined in all finished cells is not missing: no large objects, for example.
            undefined = missing == cells and all(m.record.status == 'done' for m in cells)
            return {
                'value': None,
                'interval': None,
                'complete': undefined,
                'missing': [] if undefined else [str(m.cell) for m in missing],
            }
        bounds = None
        if all(m.cell in self.pooled for group in groups for m in group):
            drawn = [self.pooled.drawn([m.cell for m in group], self.scored) for group in groups]
            bounds = interval(np.asarray(formula(drawn)))
        value = _defined(formula(scores))
        return {'value': value, 'interval': bounds, 'complete': True, 'missing': []}

    def _score(self, group: Sequence[Measured]) -> float | None:
        """The score of some cells' images over the classes of this set, per cent; None without."""
        if any(m.record.status != 'done' for m in group):
            return None
        if all(m.cell in self.pooled for m in group):
            return _defined(self.pooled.score([m.cell for m in group], self.scored))
        whole = len(group) == 1 and len(self.scored) == len(self.classes)
        return group[0].record.metrics.get(self.headline) if whole else None

    def _per_class(self) -> dict[str, dict[str, float | None]]:
        """Per-class values of all images together; of one condition its own."""
        cells = [m.cell for m in self.conditions]
        if any(cell not in self.pooled for cell in cells):
            return dict(self.conditions[0].record.per_class) if len(cells) == 1 else {}
        values = self.pooled.per_class(cells)
        found = {
            self.classes[i]: None if np.isnan(values[i]) else round(float(values[i]), 4)
            for i in self.scored
        }
        return {self.pooled.metric: found}


def _defined(value: Any) -> float | None:
    value = float(np.ravel(value)[0])
    return None if np.isnan(value) else value
