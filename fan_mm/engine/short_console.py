"""mmengine's Runner with a console that keeps to what happens: descriptions of the run are in its log file alone.

The descriptions take about 500 lines; without them, warnings and errors remain visible on the screen.
"""

import logging
from typing import Any

from mmengine.logging import MMLogger
from mmengine.runner import Runner

_DESCRIPTIONS = ('-' * 60 + '\nSystem environment:', 'Config:\n', 'Hooks will be executed in')


class ShortConsoleRunner(Runner):
    """Runner that writes environment, config and hooks to its log file, and the file's path to the console."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """As mmengine does, with a filter on what is shown."""
        logger = super().build_logger(*args, **kwargs)
        if logger.log_file is not None:
            logger.info('environment, config and hooks: %s', logger.log_file)
            for handler in logger.handlers:
                if type(handler) is logging.StreamHandler:
                    handler.addFilter(
                        lambda record: not str(record.msg).lstrip().startswith(_DESCRIPTIONS)
                    )
        return logger
