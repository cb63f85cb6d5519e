"""From all processes' parts of a cell to its record in the store, on rank 0."""

import logging
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mmengine.logging import print_log

from fan_mm.corruptions import TOO_SMALL
from fan_mm.engine.first_batch.samples import one_line
from fan_mm.errors import InputError
from fan_mm.evaluation import gallery
from fan_mm.evaluation.audit import Facts
from fan_mm.evaluation.audit.auditor import Auditor
from fan_mm.evaluation.cells import CLEAN, Cell, CellRecord, CellStore
from fan_mm.evaluation.collected import Scores
from fan_mm.evaluation.every_cell import EveryCell, EveryCellFails
from fan_mm.evaluation.scores import how_to_read
from fan_mm.evaluation.sweeping.cell_metrics import CellMetrics
from fan_mm.evaluation.sweeping.gathering import RankPart


class Outcome(NamedTuple):
    """How a cell ended.

    Attributes:
        done: whether it has a result.
        text: its score, or its error in one line.
        lasting: whether retrying is useless.
    """

    done: bool
    text: str
    lasting: bool

    def __str__(self) -> str:
        return self.text if self.done else f'failed, {self.text}'


@dataclass(frozen=True)
class Recording:
    """Records the cells of a sweep.

    Attributes:
        store: the sweep's store.
        metrics: the sweep's metrics.
        every_cell: is notified if the metrics fail on a whole cell.
        auditor: the sweep's auditor.
        paths: image paths of all samples.
        more: whether other cells follow the clean one.
        goes_on: whether those are evaluated even if clean images cannot be read (they use other files).
    """

    store: CellStore
    metrics: CellMetrics
    every_cell: EveryCell
    auditor: Auditor
    paths: Sequence[str]
    more: bool
    goes_on: bool

    def record(self, cell: Cell, of_ranks: Sequence[RankPart]) -> Outcome:
        """Compute the scores of a cell from the parts of all processes, and store it.

        Raises:
            EveryCellFails: the other cells would fail, too.
            InputError: the clean images have no score that a sweep can be about; or the store was taken by
                another sweep.
        """
        start = time.monotonic()
        record = CellRecord(*cell, status='failed', samples=len(self.paths))
        arrays: dict[str, Any] = {}
        record.error = next((part.error for part in of_ranks if part.error), None)
        if record.error and TOO_SMALL in record.error:
            raise EveryCellFails(f'{cell} fails, and so would every cell but clean: {record.error}')
        lasting = any(part.lasting for part in of_ranks)
        if cell == CLEAN and lasting and self.more and not self.goes_on:
            raise EveryCellFails(
                f'the clean images cannot all be read: {record.error}; the same command then continues'
            )
        if record.error is None:
            try:
                scores, calibration = self.metrics.scores(of_ranks)
                if self._is_in_vain(cell, scores):
                    raise EveryCellFails(
                        f'the clean images have no {scores.headline} (undefined), and so would every '
                        'cell: the labels of the evaluated images contain nothing that counts'
                    )
                # Matches are needed only for clean cells, which may be pooled with other conditions.
                arrays |= scores.arrays(matches=cell == CLEAN) | {'calibration': calibration}
                record.status = 'done'
                record.metrics, record.per_class = scores.metrics, scores.per_class
            except Exception as error:  # metrics may raise anything
                if cell == CLEAN and isinstance(error, InputError):
                    raise  # the error would occur in every cell
                record.error = one_line(error)
                self.every_cell.metric_failed(cell, error)
                print_log(f'{cell}:\n{traceback.format_exc()}', 'current', logging.ERROR)
        slowest = max(part.seconds for part in of_ranks)
        record.seconds = round(slowest + time.monotonic() - start, 3)
        text = record.error or ''
        if record.status == 'done':
            text = f'{scores.headline} {scores.metrics[scores.headline]}'
            taken = {position: p for part in of_ranks for position, p in part.pictures.items()}
            record.images = gallery.stored(self.store, cell, taken, self.paths)
            self._audit(record, of_ranks, scores.headline)
        self.store.put(record, **arrays)
        return Outcome(record.status == 'done', text, lasting)

    def _is_in_vain(self, cell: Cell, scores: Scores) -> bool:
        """Whether the clean images have no score, so that there is nothing to compare with."""
        within_training = self.store.folder is None
        undefined = scores.metrics[scores.headline] is None
        return cell == CLEAN and self.more and not within_training and undefined

    def _audit(self, record: CellRecord, of_ranks: Sequence[RankPart], headline: str) -> None:
        record.evidence = self.auditor.evidence(record.cell, [part.seen for part in of_ranks])
        if record.cell == CLEAN and self.store.folder:  # not in a training (RobustnessHook)
            task = how_to_read(self.metrics.evaluator).task
            self.auditor.say(Facts([record], task, headline, self.auditor.classes))
