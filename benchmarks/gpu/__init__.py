"""What a quarter of an hour on a GPU is for: `run.sh` measures all of it (README.md beside this)."""

import os
import sys

PYTHON = os.environ.get('PYTHON') or sys.executable  # as run.sh chooses it
