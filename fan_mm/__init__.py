"""fan_mm: fully attentional, corruption-robust vision backbones for OpenMMLab.

Importing the package checks the installed versions and registers everything in mmengine's root
registries, so a config needs one line: ``custom_imports=dict(imports=['fan_mm'])``.
"""

import sys

from fan_mm.meeting import watch_imports
from fan_mm.stopping import guard_start
from fan_mm.versions import check_versions

__version__ = '1.0.0'

_in_tool = guard_start()
if _in_tool:
    watch_imports()
try:
    check_versions()
except ImportError as error:
    if not _in_tool:
        raise
    sys.stderr.write(f'error: {error}\n')
    sys.exit(2)

from fan_mm import datasets, engine, evaluation, models  # noqa: E402  (registration comes after the check)

__all__ = ['datasets', 'engine', 'evaluation', 'models']
