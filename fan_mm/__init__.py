"""fan_mm: fully attentional, corruption-robust vision backbones for OpenMMLab.

Importing the package checks the installed versions and registers everything in mmengine's root
registries, so a config needs one line: ``custom_imports=dict(imports=['fan_mm'])``.
"""

from fan_mm.stopping import guard_start
from fan_mm.versions import check_versions

__version__ = '0.1.0'

guard_start()
check_versions()

from fan_mm import datasets, engine, evaluation, models  # noqa: E402  (registration comes after the check)

__all__ = ['datasets', 'engine', 'evaluation', 'models']
