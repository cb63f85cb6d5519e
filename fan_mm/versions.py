"""Which versions of the stack fan_mm works with, checked once at import, without importing them."""

import warnings
from dataclasses import dataclass
from importlib import metadata

from packaging.version import Version

from fan_mm.errors import InputError


@dataclass(frozen=True)
class Requirement:
    """One library under its import name, whatever the distribution that provides it is called.

    Attributes:
        module: the import name.
        at_least: the oldest version that works.
        below: the first version that does not (or that nobody has tried).
        distributions: the distributions that provide the module; the first is what we recommend.
        pin: the version in ``requirements.txt``.
    """

    module: str
    at_least: str
    below: str
    distributions: tuple[str, ...]
    pin: str

    def installed(self) -> str | None:
        """The installed version, or None."""
        for distribution in self.distributions:
            try:
                return metadata.version(distribution)
            except metadata.PackageNotFoundError:
                continue
        return None

    def complaint(self) -> str | None:
        """One line that says what is wrong with what is installed; None if it is fine or absent."""
        version = self.installed()
        if version is None:
            return None
        if Version(version) < Version(self.at_least):
            verdict = f'too old, it needs at least {self.at_least}'
        elif Version(version).release >= Version(self.below).release:
            verdict = f'too new, it needs a version below {self.below}'
        else:
            return None
        return f'{self.module} {version} is {verdict}: {self.remedy()}'

    def remedy(self) -> str:
        """The pip command that mends it."""
        return f'pip install "{self.distributions[0]}=={self.pin}"'


REQUIRED = (
    Requirement('torch', '2.1', '3', ('torch',), '2.11.0'),
    Requirement('numpy', '1.23', '3', ('numpy',), '2.2.6'),
    Requirement(
        'cv2',
        '4.5',
        '6',
        (
            'opencv-python',
            'opencv-python-headless',
            'opencv-contrib-python-headless',
            'opencv-contrib-python',
        ),
        '4.12.0.88',
    ),
    Requirement(
        'mmengine', '0.10.4', '1', ('onedl-mmengine', 'mmengine', 'mmengine-lite'), '0.10.12'
    ),
    Requirement('mmcv', '2.0.0', '3', ('onedl-mmcv', 'mmcv', 'mmcv-lite'), '2.3.6'),
)

TASK_LIBRARIES = (
    Requirement('mmseg', '1.2.0', '2', ('onedl-mmsegmentation', 'mmsegmentation'), '1.4.2'),
    Requirement('mmpretrain', '1.2.0', '2', ('onedl-mmpretrain', 'mmpretrain'), '1.3.6'),
    Requirement('mmdet', '3.3.0', '4', ('onedl-mmdetection', 'mmdet'), '3.5.1'),
)


def check_versions() -> None:
    """Check what is installed against the tables above.

    Raises:
        ImportError: a required library is missing, too old or too new (one line, with the pip
            command). A task library out of range only warns: it may not be the one in use.
    """
    for requirement in REQUIRED:
        if requirement.installed() is None:
            raise ImportError(f'fan_mm needs {requirement.module}: {requirement.remedy()}')
        if complaint := requirement.complaint():
            raise ImportError(f'fan_mm: {complaint}')
    for requirement in TASK_LIBRARIES:
        if complaint := requirement.complaint():
            warnings.warn(f'fan_mm: {complaint}', stacklevel=3)


def require_task_library(module: str) -> None:
    """Raise an `InputError` naming the pip command if a task library is not installed.

    Args:
        module: ``'mmseg'``, ``'mmpretrain'`` or ``'mmdet'``.
    """
    requirement = next(r for r in TASK_LIBRARIES if r.module == module)
    if requirement.installed() is None:
        raise InputError(f'this needs {module}, which is not installed: {requirement.remedy()}')
