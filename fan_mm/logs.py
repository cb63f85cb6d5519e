"""Warnings in the log of a run."""

import logging

from mmengine.logging import print_log


def warn(text: str) -> None:
    """Log a warning with the logger of mmengine's runner, or the one that stands for it."""
    print_log(text, 'current', logging.WARNING)
