import subprocess
import sys

import pytest


@pytest.mark.slow
def test_mypy_is_content(repo_root, tmp_path):
    pytest.importorskip('mypy')
    done = subprocess.run(
        [sys.executable, '-m', 'mypy', '--cache-dir', tmp_path],
        cwd=repo_root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
