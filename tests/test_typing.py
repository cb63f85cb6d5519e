import os
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_mypy_is_content(repo_root):
    pytest.importorskip('mypy')
    done = subprocess.run(
        [sys.executable, '-m', 'mypy', '--no-incremental', '--cache-dir', os.devnull],
        cwd=repo_root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
