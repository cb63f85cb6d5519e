"""The progress of a sweep, in its log."""

import time
from collections.abc import Sequence
from datetime import timedelta

from mmengine.logging import print_log

from fan_mm.evaluation.cells import Cell

INTERVAL = 30.0  # seconds between log lines within a cell


class Progress:
    """Speed and remaining time of a sweep, over the cells of this run.

    Logs plain lines with mmengine's logger, which are readable in terminals, log files and cluster output.

    Args:
        cells: the cells of the whole sweep.
        done: those finished before this run.
        images: number of images per cell, over all ranks.
    """

    def __init__(self, cells: Sequence[Cell], done: Sequence[Cell], images: int) -> None:
        self.cells = cells
        self.finished = len(done)
        self.images = images
        self.seen = 0  # images in this run
        self.in_cell = 0
        self.start = self.last_line = time.monotonic()
        if done:
            print_log(f'{len(done)} of {len(cells)} cells are already done', 'current')

    def images_per_second(self) -> float:
        """Of this run, everything counted."""
        return self.seen / max(time.monotonic() - self.start, 1e-9)

    def time_left(self) -> str:
        """Like 1:02:03, at the speed so far."""
        if not self.seen:  # the first cell failed at its first batch
            return 'unknown time'
        todo = (len(self.cells) - self.finished) * self.images - self.in_cell
        return str(timedelta(seconds=round(todo / self.images_per_second())))

    def add(self, cell: Cell, images: int) -> None:
        """Count images of the cell that is being evaluated."""
        images = min(images, self.images - self.in_cell)
        self.seen += images
        self.in_cell += images
        if time.monotonic() - self.last_line >= INTERVAL and self.in_cell < self.images:
            self._line(f'{cell}: image {self.in_cell} of {self.images}', self.finished + 1)

    def end_cell(self, cell: Cell, done: bool, outcome: str) -> None:
        """Close the cell; ``outcome`` is its score or its error."""
        self.finished += done
        self.in_cell = 0
        self._line(f'{cell}: {outcome}', self.finished + (not done))

    def _line(self, text: str, number: int) -> None:
        self.last_line = time.monotonic()
        print_log(
            f'cell {number} of {len(self.cells)}, {text}, {self.images_per_second():.2f} images/s, '
            f'{self.time_left()} left',
            'current',
        )
