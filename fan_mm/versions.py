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
        pins: the distributions that provide the module, each with the version we recommend; the first
            is in ``requirements.txt``, an original OpenMMLab package in ``requirements/openmmlab.txt``.
    """

    module: str
    at_least: str
    below: str
    pins: dict[str, str]

    def distribution(self) -> str | None:
        """The installed distribution, or None."""
        for name in self.pins:
            try:
                metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
            return name
        return None

    def installed(self) -> str | None:
        """The installed version, or None."""
        name = self.distribution()
        return None if name is None else metadata.version(name)

    def complaint(self) -> str | None:
        """One line that states the problem with the installed version; None if it is fine or absent."""
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
        """The pip command that mends it, for the installed brand."""
        name = self.distribution() or next(iter(self.pins))
        if self.distribution() is None and _originals_installed():
            name = next(name for name in self.pins if not _is_fork(name))
        return f'pip install "{name}=={self.pins[name]}"'


def _is_fork(distribution: str) -> bool:
    return distribution.startswith('onedl-')


def _originals_installed() -> bool:
    """Whether the original OpenMMLab packages are installed, not the maintained forks."""
    brands = [r.distribution() for r in (*REQUIRED, *TASK_LIBRARIES) if r.module.startswith('mm')]
    found = [name for name in brands if name is not None]
    return bool(found) and not any(map(_is_fork, found))


REQUIRED = (
    Requirement('torch', '2.4', '3', {'torch': '2.11.0'}),
    Requirement('numpy', '1.23', '3', {'numpy': '2.2.6'}),
    Requirement(
        'cv2',
        '4.5',
        '6',
        {
            'opencv-python': '4.12.0.88',
            'opencv-python-headless': '4.12.0.88',
            'opencv-contrib-python-headless': '4.12.0.88',
            'opencv-contrib-python': '4.12.0.88',
        },
    ),
    Requirement(
        'mmengine',
        '0.10.4',
        '1',
        {'onedl-mmengine': '0.10.12', 'mmengine': '0.10.7', 'mmengine-lite': '0.10.7'},
    ),
    Requirement(
        'mmcv', '2.0.0', '3', {'onedl-mmcv': '2.3.6', 'mmcv': '2.1.0', 'mmcv-lite': '2.1.0'}
    ),
)

TASK_LIBRARIES = (
    Requirement(
        'mmseg', '1.2.0', '2', {'onedl-mmsegmentation': '1.4.2', 'mmsegmentation': '1.2.2'}
    ),
    Requirement('mmpretrain', '1.2.0', '2', {'onedl-mmpretrain': '1.3.6', 'mmpretrain': '1.2.0'}),
    Requirement('mmdet', '3.3.0', '4', {'onedl-mmdetection': '3.5.1', 'mmdet': '3.3.0'}),
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
