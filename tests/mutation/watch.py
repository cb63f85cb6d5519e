"""A pytest plugin: which lines of a package each test runs, and for how long. Another: only chosen tests."""

import os
import sys
import threading
import zlib
from collections import defaultdict
from pathlib import Path

import pytest


def line_key(text: str) -> int:
    """What a line is known by: its words, so that a change elsewhere does not move it."""
    return zlib.crc32(text.strip().encode())


class Watch:
    """Notes per test its seconds and the lines it runs; what a fixture runs counts for the whole file.

    Attributes:
        seconds: test -> seconds, with the set-up.
        lines: test -> module -> keys of lines.
    """

    def __init__(self, root: Path, package: str) -> None:
        self.seconds = defaultdict(float)
        self._hits = defaultdict(set)
        self._root, self._package = root, f'{root / package}{os.sep}'
        self._current = None

    def _call(self, frame, event, _):
        if frame.f_code.co_filename.startswith(self._package):
            self._hits[self._current].add((frame.f_code.co_filename, frame.f_lineno))
            return self._line
        return None

    def _line(self, frame, event, _):
        self._hits[self._current].add((frame.f_code.co_filename, frame.f_lineno))
        return self._line

    def _while(self, current):
        self._current = current
        threading.settrace(self._call)
        sys.settrace(self._call)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item):
        return (yield from self._while(item.nodeid.partition('::')[0]))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        return (yield from self._while(item.nodeid))

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] += report.duration

    @property
    def lines(self) -> dict[str, dict[str, list[int]]]:
        texts = {}
        found = {}
        for test in self.seconds:
            modules = defaultdict(set)
            for file, number in self._hits[test] | self._hits[test.partition('::')[0]]:
                if file not in texts:
                    lines = Path(file).read_text().splitlines() or ['']
                    texts[file] = [line_key(line) for line in lines]
                modules[str(Path(file).relative_to(self._root))].add(texts[file][number - 1])
            found[test] = {module: sorted(keys) for module, keys in modules.items()}
        return found


class Only:
    """Runs the chosen tests, in this order."""

    def __init__(self, tests: list[str]) -> None:
        self._place = {test: place for place, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        items[:] = [item for item in items if item.nodeid in self._place]
        items.sort(key=lambda item: self._place[item.nodeid])
