"""The GPU benchmark: `run.sh` runs its sections (see README.md)."""

import os
import sys

PYTHON = os.environ.get('PYTHON') or sys.executable  # as run.sh chooses it
