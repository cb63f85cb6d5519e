"""Copies of the checkout, and pytest in forks of this process that run in them."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

OPTIONS = ['-q', '-x', '-p', 'no:cacheprovider', '-m', 'not slow and not campaign and not mutation']


def imports() -> None:
    """Import what every test needs, but not `fan_mm`."""
    import mmdet
    import mmpretrain
    import mmseg
    import pytest  # noqa: F401
    import scipy.ndimage  # noqa: F401
    import torch  # noqa: F401

    for library in (mmseg, mmpretrain, mmdet):
        utils = __import__(f'{library.__name__}.utils').utils
        utils.register_all_modules(init_default_scope=False)
    assert not any(name.partition('.')[0] == 'fan_mm' for name in sys.modules)


class Tree:
    """A copy of the checkout; what Python compiles there is known by its content, not by its time.

    Args:
        checkout: what is copied: the files that git knows or would add.
        folder: to make.
    """

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.root = folder
        listed = [
            'git',
            '-C',
            checkout,
            'ls-files',
            '-z',
            '--cached',
            '--others',
            '--exclude-standard',
        ]
        for name in subprocess.check_output(listed, text=True).split('\0'):
            if name and (checkout / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(checkout / name, folder / name)
        options = ['-q', '--invalidation-mode', 'checked-hash', folder / 'fan_mm']
        subprocess.run([sys.executable, '-m', 'compileall', *options], check=True)

    @contextlib.contextmanager
    def changed(self, module: str, text: str) -> Iterator[None]:
        """A module has another text meanwhile."""
        before = (self.root / module).read_text()
        (self.root / module).write_text(text)
        try:
            yield
        finally:
            (self.root / module).write_text(before)


class Run:
    """pytest in a fork, which is ended with all that it started when its time is up.

    Args:
        tree: where.
        files: of tests.
        plugin: of pytest.
        limit: seconds.
        at_end: called in the fork if no test failed.
    """

    def __init__(
        self,
        tree: Tree,
        files: list[str],
        plugin: object,
        limit: float,
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._log = tree.root.with_suffix('.log')
        self._until = time.monotonic() + limit
        self._status = None
        self._pid = os.fork()
        if self._pid == 0:
            self._become(tree.root, files, plugin, at_end)

    def _become(self, root: Path, files: list[str], plugin: object, at_end: Callable) -> None:
        status = 3
        try:
            os.setsid()
            os.chdir(root)
            log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.path.insert(0, str(root))
            os.environ['PYTHONPATH'] = f'{root}:{os.environ.get("PYTHONPATH", "")}'
            import pytest

            ended = int(pytest.main([*OPTIONS, '--rootdir', str(root), *files], [plugin]))
            if ended in (0, 5):
                at_end()
            status = ended
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def status(self) -> int | None:
        """pytest's exit status; None while it runs; of who was ended a negative number."""
        if self._status is None:
            ended, status = os.waitpid(self._pid, os.WNOHANG)
            if ended or time.monotonic() > self._until:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._pid, signal.SIGKILL)
                if not ended:
                    status = os.waitpid(self._pid, 0)[1]
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def output(self) -> str:
        """What it printed."""
        return self._log.read_text(errors='replace')

    def failed(self) -> str:
        """The test that failed first, where one did."""
        lines = (
            line for line in self.output().splitlines() if line.startswith(('FAILED', 'ERROR'))
        )
        return next(lines, '').partition(' - ')[0]
