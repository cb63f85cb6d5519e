"""One log line in place of mmengine's line per parameter about ``paramwise_cfg``."""

import logging
import re
from collections import Counter

from mmengine.hooks import Hook
from mmengine.runner import Runner

_LINE = re.compile(r'paramwise_options -- .*:(\w+)=(\S+)')


class ParamwiseLines(Hook, logging.Filter):
    """Keeps these lines out of the log, and logs a summary when training starts.

    Several hundred of them are written while the optimizer is built. With ``log_level='DEBUG'`` they
    are all kept.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        logging.Filter.__init__(self)
        self.counts: Counter[tuple[str, str]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is any other one."""
        match = _LINE.match(record.getMessage())
        if match:
            self.counts[match[1], match[2]] += 1
        return match is None

    def before_run(self, runner: Runner) -> None:
        """Say how many parameters have which option."""
        runner.logger.removeFilter(self)
        if self.counts:
            options = ', '.join(f'{k}={v} {n}x' for (k, v), n in sorted(self.counts.items()))
            runner.logger.info(f'paramwise_options of the parameters: {options}')
            self.counts.clear()


def gather_paramwise_lines(runner: Runner) -> None:
    """Let a runner's log have one line in their place."""
    if all(handler.level > logging.DEBUG for handler in runner.logger.handlers):
        lines = ParamwiseLines()
        runner.logger.addFilter(lines)
        runner.register_hook(lines)
