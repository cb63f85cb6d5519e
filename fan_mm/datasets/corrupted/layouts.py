"""Where clean images lie and where their corrupted copies go, as the official configs expect it.

Cityscapes-C and ImageNet-C: ``ROOT/<corruption>/<severity>/...`` (SegFormer's and FAN's evaluation
replaces the path component ``clean`` by ``<corruption>/<severity>``; Hendrycks's released files have
the same tree). COCO-C: ``ROOT/<corruption>_<severity>/...`` (FAN's detection script).
"""

import os
from dataclasses import dataclass
from pathlib import Path, PurePath

from fan_mm.errors import InputError
from fan_mm.folders import files_below
from fan_mm.images import SUFFIXES

FORMATS = ('png', 'jpg', 'keep')
_SUFFIXES = {'.png': 'png', '.jpg': 'jpg', '.jpeg': 'jpg', '.jpe': 'jpg', '.jfif': 'jpg'}


@dataclass(frozen=True)
class Layout:
    """One dataset's folders and the defaults of its corrupted copy.

    Attributes:
        image_folders: where the images of a split may lie below the dataset's root, tried in order.
        cell: folder of one corruption at one severity, below the corrupted dataset's root.
        benchmark: name in `fan_mm.corruptions.BENCHMARKS` whose cells are written by default.
        file_format: default of ``--format``.
        quality: default JPEG quality.
        crop: (short side, centre crop) in pixels, applied before corrupting, or None.
    """

    image_folders: tuple[str, ...]
    cell: str
    benchmark: str
    file_format: str
    quality: int
    crop: tuple[int, int] | None = None


LAYOUTS = {
    'cityscapes': Layout(
        ('leftImg8bit/{split}',), '{corruption}/{severity}', 'cityscapes-c', 'png', 95
    ),
    'coco': Layout(('{split}2017', '{split}'), '{corruption}_{severity}', 'coco-c', 'keep', 95),
    # Resize(256), CenterCrop(224), JPEG at quality 85: how the released ImageNet-C was made
    # (make_imagenet_c.py of hendrycks/robustness).
    'imagenet': Layout(
        ('{split}',), '{corruption}/{severity}', 'imagenet-c', 'jpg', 85, crop=(256, 224)
    ),
}


def corrupted_path(
    root: str | os.PathLike,
    layout: str,
    corruption: str,
    severity: int,
    relative: str | os.PathLike,
    file_format: str = 'keep',
) -> Path:
    """Path of one corrupted image.

    Args:
        root: the corrupted dataset's folder.
        layout: 'cityscapes', 'coco' or 'imagenet'.
        corruption: name of the corruption.
        severity: 1 to 5.
        relative: the clean image's path below its split's image folder: ``CITY/FILE`` below
            ``leftImg8bit/val`` (Cityscapes), ``FILE`` below ``val2017`` (COCO), ``CLASS/FILE`` below
            ``val`` (ImageNet).
        file_format: 'png', 'jpg' or 'keep', as recorded in the manifest's options. The file keeps
            its name; only where the format differs from the source's does the suffix follow it.
            What is neither PNG nor JPEG is not kept but becomes PNG.
    """
    return Path(root, cell_folder(layout, corruption, severity), file_name(relative, file_format))


def cell_folder(layout: str, corruption: str, severity: int) -> str:
    """Folder of one corruption at one severity, below the corrupted dataset's root."""
    return LAYOUTS[layout].cell.format(corruption=corruption, severity=severity)


def file_name(relative: str | os.PathLike, file_format: str) -> str:
    """An image's path below its cell's folder; see `corrupted_path`."""
    relative = PurePath(relative)
    own = _SUFFIXES.get(relative.suffix.lower(), 'png')
    wanted = own if file_format == 'keep' else file_format
    if _SUFFIXES.get(relative.suffix.lower()) != wanted:
        relative = relative.with_suffix(f'.{wanted}')
    return relative.as_posix()


def is_kept(relative: str | os.PathLike) -> bool:
    """Whether an image's format is one that 'keep' keeps."""
    return PurePath(relative).suffix.lower() in _SUFFIXES


def image_folder(source: str | os.PathLike, layout: str, split: str) -> Path:
    """The folder that holds a split's images.

    Args:
        source: the dataset's root, as mm configs name it (``data/cityscapes``, ``data/coco``).
        layout: 'cityscapes', 'coco' or 'imagenet'.
        split: 'val', or any other folder name of the dataset ('train', 'test').

    Raises:
        InputError: there is no such folder.
    """
    if not split:  # such as an unset variable of a shell; '.' is SRC itself
        raise InputError(f'--split {split!r} is not a folder of the {layout} dataset')
    folders = [Path(source, folder.format(split=split)) for folder in LAYOUTS[layout].image_folders]
    for folder in folders:
        if folder.is_dir():
            # Absolute, because an image's seed depends on its parent folder's name.
            return Path(os.path.abspath(folder))
    raise InputError(
        f'no folder {folders[0]}: give the root of the {layout} dataset as SRC, and an existing --split'
    )


def find_images(folder: Path) -> tuple[list[str], list[str]]:
    """Relative paths (with '/') of all image files below ``folder``, and of the other files, sorted.

    Images are recognised by suffix; hidden files, and files in hidden folders, count as neither.

    Raises:
        InputError: there is no image, or a folder that cannot be read.
    """
    found: list[str] = []
    others: list[str] = []
    for parts in files_below(folder):
        is_picture = os.path.splitext(parts[-1])[1].lower() in SUFFIXES
        (found if is_picture else others).append('/'.join(parts))
    if not found:
        kinds = ', '.join(sorted(SUFFIXES))
        raise InputError(f'no images ({kinds}) below {folder}')
    return sorted(found), sorted(others)
