"""Common to all writers of scenes: a manifest of what a folder holds, and worker processes."""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fan_mm.cores import check_memory, usable_cores
from fan_mm.errors import InputError
from fan_mm.fileio import is_temporary, write_whole

_BYTES = 100  # for each pixel while a scene is rendered, about
_FEW = 16  # scenes that are rendered before other processes would have started
MANIFEST = 'manifest.json'
SCENES_VERSION = '1'  # changes when any rendered byte would
# Number of a split's first scene: the splits never share one.
FIRST_SCENE = {'train': 0, 'val': 1_000_000}


def claim_folder(
    root: Path, size: tuple[int, int], train: int, val: int, seed: int, **kind: str
) -> dict[str, int]:
    """Make ``root`` the home of a dataset with these options, or find that it already is.

    Args:
        root: the dataset's folder; made if missing.
        size: height and width in pixels.
        train: number of scenes for training.
        val: number of scenes for validation.
        seed: of the scenes.
        kind: what else decides the dataset's bytes, such as its layout.

    Returns:
        The number of scenes of each split.

    Raises:
        InputError: an option is out of range, or the folder holds another dataset, or something else.
    """
    height, width = size
    if min(height, width) < 64:
        raise InputError(f'size {height}x{width}: a street scene needs at least 64x64 pixels')
    check_memory(height * width * _BYTES, f'size {height}x{width}')
    if min(train, val) < 1:
        raise InputError('train and val need at least one scene each')
    if seed < 0:
        raise InputError(f'seed {seed} is negative')
    counts = {'train': train, 'val': val}
    wanted = {
        'scenes_version': SCENES_VERSION,
        **kind,
        'size': list(size),
        **counts,
        'seed': seed,
    }
    manifest = root / MANIFEST
    if manifest.is_file():
        try:
            found = json.loads(manifest.read_text())
            differing = [key for key in wanted | found if wanted.get(key) != found.get(key)]
        except (ValueError, TypeError):
            raise InputError(
                f'{manifest} is not a manifest of toy data: choose another folder'
            ) from None
        if differing:
            said = ', '.join(f'{k} {found.get(k)} instead of {wanted.get(k)}' for k in differing)
            raise InputError(
                f'{root} contains a dataset with {said}: remove it or choose another folder'
            )
    elif root.is_dir() and not all(map(is_temporary, os.listdir(root))):
        raise InputError(f'{root} is not empty and contains no toy data: choose another folder')
    else:
        write_whole(manifest, json.dumps(wanted, indent=2) + '\n')
    return counts


def image_bytes(pixels: np.ndarray, suffix: str, quality: int = 95) -> bytes:
    """The file of an RGB ``(H, W, 3)`` or grey ``(H, W)`` uint8 image.

    Args:
        pixels: the image.
        suffix: of the file's name, which is its format.
        quality: of a JPEG.
    """
    pixels = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    return cv2.imencode(suffix, pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def run_jobs(work: Callable[[Any], Any], jobs: Sequence, processes: int | None = None) -> Iterator:
    """Do independent jobs in several processes; yields the results in the jobs' order.

    Args:
        work: a function of a module, or a partial of one.
        jobs: its arguments.
        processes: None for one per core.
    """
    processes = min(processes or usable_cores(), len(jobs) // _FEW)
    if processes <= 1:
        yield from map(work, jobs)
        return
    # not a fork of this process, whose threads (OpenCV, torch) would be missing in the copy
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['fan_mm.datasets.scenes'])
    with ProcessPoolExecutor(processes, context, cv2.setNumThreads, (1,)) as pool:
        yield from pool.map(work, jobs, chunksize=4)
