"""This process's part of a cell: its batches loaded, predicted and given to the metrics."""

import logging
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.dist import get_dist_info
from mmengine.logging import print_log
from mmengine.runner.amp import autocast

from fan_mm.engine.first_batch.outputs import (
    check_labels,
    check_outputs,
    score_warnings,
    without_losses,
)
from fan_mm.engine.first_batch.samples import load_samples, one_line
from fan_mm.errors import InputError
from fan_mm.evaluation.audit.auditor import Auditor
from fan_mm.evaluation.calibration.merged_scores import predict
from fan_mm.evaluation.cell_dataset import CellDataset
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.every_cell import EveryCell, EveryCellFails
from fan_mm.evaluation.gallery import Gallery
from fan_mm.evaluation.progress import Progress
from fan_mm.evaluation.sweeping.cell_metrics import CellMetrics
from fan_mm.evaluation.sweeping.gathering import RankPart
from fan_mm.few_names import few
from fan_mm.fileio import printable
from fan_mm.logs import warn


@dataclass
class OwnPart:
    """Evaluates this process's part of cells.

    Attributes:
        model: a model with mmengine's ``test_step``.
        dataset: every sample in every cell.
        batches: positions of this process's samples, batch by batch.
        metrics: the sweep's metrics.
        infos: data infos of the samples, with 'img_path'.
        labels: labels of the samples, None for samples without one.
        fp16: predict under autocast.
        copies: whether corrupted images are read from other files than those of ``infos``.
        goes_on: whether cells of corrupted files are evaluated even if a clean image cannot be read.
        every_cell: is notified of failures on the first clean batch.
        auditor: observes all batches.
        gallery: makes images; None for no images.
    """

    model: Any
    dataset: CellDataset
    batches: Sequence[list[int]]
    metrics: CellMetrics
    infos: Sequence[Mapping[str, Any]]
    labels: Sequence[Any]
    fp16: bool
    copies: bool
    goes_on: bool
    every_cell: EveryCell
    auditor: Auditor
    gallery: Gallery | None

    @torch.no_grad()
    def evaluate(self, cell: Cell, loader: Iterator, progress: Progress) -> RankPart:
        """What the metrics collect of a cell, or the error that ends it.

        Args:
            cell: the cell.
            loader: iterator whose next batches are this process's batches of the cell.
            progress: is notified of each batch.

        Raises:
            EveryCellFails: on all ranks, if the first clean batch fails in a way that all cells would.
        """
        start = time.monotonic()
        part = RankPart()
        watch = self.auditor.watch(cell)
        untried = cell == CLEAN
        self.metrics.begin()
        world_size = get_dist_info()[1]
        positions: list[int] = []
        loaded = True
        try:
            for positions in self.batches:
                loaded = False
                with watch.waiting():
                    batch = next(loader)
                loaded = True
                with autocast(enabled=self.fp16):
                    outputs = without_losses(self._test_step(batch))
                check_outputs(outputs)
                if untried:
                    check_labels(outputs, self.labels, self.metrics.evaluator)
                    for line in score_warnings(outputs, self.labels, self.metrics.evaluator):
                        warn(f'fan_mm: {line}')
                watch.take(positions, batch, outputs)
                self.metrics.process(batch, outputs)
                if untried:
                    mistake = self.every_cell.try_metrics(positions)
                    untried = False
                    self.every_cell.agree(mistake)
                part.positions += positions
                if self.gallery:
                    part.pictures |= self.gallery.take(cell, positions, batch, outputs)
                progress.add(cell, len(positions) * world_size)
            if untried:  # this rank has no batch of the cell
                untried = False
                self.every_cell.agree(None)
            part.results = self.metrics.collected()
        except EveryCellFails:
            raise
        except Exception as error:  # datasets, models and metrics may raise anything
            self.metrics.put_back()
            part.error, part.lasting = self._why(cell, error, [] if loaded else positions)
            if not untried and not isinstance(error, InputError):
                where = few(printable(self.infos[p]['img_path']) for p in positions)
                text = f'{cell}, at {where}:\n{traceback.format_exc()}'
                print_log(text, 'current', logging.ERROR)
            # The error's frames hold large tensors, and the loader's iterator in a reference cycle, in
            # which it would wait ten seconds for its workers.
            traceback.clear_frames(error.__traceback__)
            torch.cuda.empty_cache()
            if untried:
                self.every_cell.agree(
                    None if part.lasting and self.goes_on else part.error,
                    None if part.lasting else error,
                )
        finally:
            part.seen = watch.end()
            self.metrics.empty()
        part.seconds = time.monotonic() - start
        return part

    def _test_step(self, batch: Any) -> list:
        calibrated = self.metrics.calibration is not None
        return predict(self.model, batch) if calibrated else self.model.test_step(batch)

    def _why(self, cell: Cell, error: Exception, unread: Sequence[int]) -> tuple[str, bool]:
        """An error as one line, and whether a retry would fail in the same way.

        Args:
            cell: the cell in which the error was raised.
            error: the error.
            unread: positions of the samples that were being loaded. They are loaded once more, in case the
                file system had a temporary problem; the line names the file that cannot be loaded.
        """
        line = one_line(error)
        start = self.dataset.cells.index(cell) * len(self.dataset.samples)
        try:
            load_samples(self.dataset, [start + p for p in unread], 'the loader', unread)
        except InputError as found:
            # Only the error itself contains the name of a corrupted file.
            return (line if self.copies and cell != CLEAN else str(found)), True
        return line, False
