"""Mistakes that would be the same in every cell: they end a sweep at once, in one line.

They are detected in four ways: the model gets a batch of images of several sizes before all others; the metrics
are computed on the first clean batch alone; an error of a metric on the whole clean cell would occur in every
cell; and so would an error with which two cells fail before any cell is done.
"""

import copy
from collections.abc import Sequence
from typing import Any

from mmengine.dist import all_gather_object, get_dist_info
from mmengine.runner.amp import autocast
from torch.utils.data import DataLoader

from fan_mm.engine.evaluators import (
    collectors,
    left_as_it_was,
    one_process,
    set_metainfo,
    with_sizes,
)
from fan_mm.engine.first_batch.samples import load_samples, one_line
from fan_mm.engine.first_batch.several_sizes import mixed_batch
from fan_mm.engine.first_batch.trial import (
    is_of_one_process,
    model_fails,
    needs_all_processes,
    needs_no_more,
    nothing_changed,
)
from fan_mm.errors import InputError
from fan_mm.evaluation.cell_dataset import CellDataset, batch_size_of
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.scores import NoScore, compute_scores, copy_of
from fan_mm.evaluation.sweeping.cell_metrics import CellMetrics
from fan_mm.logs import warn


class EveryCellFails(InputError):
    """A mistake that every cell would have; it ends the sweep."""


class EveryCell:
    """Finds mistakes that every cell of a sweep would have.

    Every rank has one; `agree` and `compare` are collective calls.

    Args:
        metrics: the sweep's metrics.
    """

    def __init__(self, metrics: CellMetrics) -> None:
        self.metrics = metrics
        self.evaluator = metrics.evaluator
        self.failed: tuple[Cell, str] | None = None  # the cell that failed before, and why
        self.cause: Exception | None = None  # exception of a mistake found by this rank
        self.doubt: str | None = None  # a metric's error that may be specific to the first batch

    def try_metrics(self, positions: Sequence[int]) -> str | None:
        """Let the metrics compute on the first clean batch alone, on rank 0.

        Returns:
            The mistake that all cells have; None if there is none, and on other ranks.
        """
        rank, world_size = get_dist_info()
        if rank:
            return None
        if world_size > 1 and (name := self._cannot_be_gathered()):
            return (
                f'{name} does not keep its results in a way that can be gathered from several '
                'processes: use one process'
            )
        try:
            with left_as_it_was(self.evaluator):
                self._score(positions)
        except NoScore as error:
            return str(error) if error.names or needs_no_more(self.evaluator) else None
        except Exception as error:  # metrics may raise anything
            if needs_no_more(self.evaluator):
                self.cause = error
                return one_line(error)
            self.doubt = one_line(error)
            text = f'{self.doubt} (the metric on the first batch, perhaps not on all)'
            warn(text)
        return None

    def try_several_sizes(
        self, model: Any, dataset: CellDataset, loader: DataLoader, fp16: bool
    ) -> None:
        """Let a model take a clean batch of images of several sizes, on rank 0, long before it comes.

        Args:
            model: the sweep's model.
            dataset: the sweep's dataset, whose first cell is the clean one.
            loader: loader of the clean images.
            fp16: predict under autocast.

        Raises:
            EveryCellFails: the model fails.
        """
        order, size = range(len(dataset.samples)), batch_size_of(loader)
        batch = mixed_batch(dataset, order, size)
        if batch in ([], order[:size]) or needs_all_processes(model):
            return
        with nothing_changed(model), one_process(), autocast(enabled=fp16):
            try:
                samples = load_samples(dataset, batch, 'the loader')
            except InputError:  # of which the cell tells
                return
            try:
                model.test_step(loader.collate_fn(samples))
            except Exception as error:  # models may raise anything
                if is_of_one_process(error):
                    return
                raise EveryCellFails(model_fails(error, several_sizes=True)) from error

    def agree(self, mistake: str | None, cause: Exception | None = None) -> None:
        """Tell all ranks what this one found on its first clean batch.

        Raises:
            EveryCellFails: on all ranks, if one of them found a mistake.
        """
        for said, doubt in all_gather_object((mistake, self.doubt)):
            if said is not None:
                raise EveryCellFails(f'the first batch fails: {said}') from cause or self.cause
            self.doubt = self.doubt or doubt

    def compare(self, cell: Cell, error: str) -> None:
        """Remember a failed cell, while none is done, to compare it with the next one.

        Raises:
            EveryCellFails: another cell, or the first batch, failed with the same error.
        """
        other, why = self.failed or (cell, None)
        alike = other != cell and why == error
        if alike or self.doubt == error:
            first = other if alike else 'its first batch'
            raise EveryCellFails(f'{cell} fails like {first}, and so would every cell: {error}')
        self.failed = cell, error

    def metric_failed(self, cell: Cell, error: Exception) -> None:
        """Take note of a metric that fails on a whole cell, on rank 0.

        Raises:
            EveryCellFails: it is the clean cell, so the other cells would fail, too.
        """
        line = one_line(error)
        passing = isinstance(error, MemoryError | OSError)
        if cell == CLEAN and line != self.doubt and not passing:
            raise EveryCellFails(
                f'the metric fails on {cell}, and so it would on every cell: {line}'
            ) from error

    def _cannot_be_gathered(self) -> str | None:
        """The name of a metric whose results are not in mmengine's lists; None if all are."""
        for metric in self.evaluator.metrics:
            held = [holder.results for holder in collectors(metric)]
            if not any(isinstance(results, list) and results for results in held):
                return type(metric).__name__
        return self.metrics.counting()

    def _score(self, positions: Sequence[int]) -> None:
        """Compute the scores of a batch, of several datasets' evaluator those of the first."""
        evaluator, parts = self.evaluator, None
        if self.metrics.parts:
            evaluator = copy_of(evaluator)
            positions = [p for p in positions if p < self.metrics.parts[0].stop]
            parts = [slice(0, len(positions))]
            evaluator.metrics = evaluator.metrics[:1]
            evaluator.dataset_prefixes = evaluator.dataset_prefixes[:1]
            meta = with_sizes(evaluator.dataset_meta, [len(positions)])
            set_metainfo(evaluator, meta[:1] if isinstance(meta, list) else meta)
        holders = [m for metric in evaluator.metrics for m in collectors(metric)]
        results = copy.deepcopy([holder.results for holder in holders])
        compute_scores(evaluator, results, [self.metrics.image_ids[p] for p in positions], parts)
