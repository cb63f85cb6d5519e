"""The progress bar of long runs over many files."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)


class _Rate(ProgressColumn):
    """Images per second of this run."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.before = before

    def render(self, task: Task) -> str:
        rate = (task.completed - self.before) / task.elapsed if task.elapsed else 0.0
        return f'{rate:.1f} images/s'


def progress_bar(console: Console, before: int = 0) -> Progress:
    """A bar that shows how many images are done, images per second and the time left.

    Args:
        console: where it is drawn.
        before: images that were finished before the start; they do not count as speed.
    """
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        _Rate(before),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        expand=True,
    )
