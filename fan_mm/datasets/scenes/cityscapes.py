"""Scenes in the exact layout of Cityscapes, as mmseg's `CityscapesDataset` reads it."""

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from fan_mm.datasets.scenes.scene import render_scene
from fan_mm.datasets.scenes.storage import FIRST_SCENE, claim_folder, image_bytes, run_jobs
from fan_mm.fileio import write_whole

CITIES = {'train': 'toyburg', 'val': 'toyhafen'}


def write_cityscapes(
    root: str | os.PathLike,
    size: tuple[int, int] = (256, 512),
    train: int = 200,
    val: int = 40,
    seed: int = 0,
    jobs: int | None = None,
    progress: Callable[[Iterable, int], Iterable] = lambda scenes, total: scenes,
) -> int:
    """Write a toy Cityscapes; existing files are kept, so an interrupted run can be continued.

    Args:
        root: the dataset's folder. Images go to ``leftImg8bit/{train,val}/CITY/*_leftImg8bit.png``,
            labels (trainIds, 255 is ignored) to ``gtFine/.../*_gtFine_labelTrainIds.png``.
        size: height and width in pixels.
        train: number of scenes for training.
        val: number of scenes for validation.
        seed: non-negative; the same options give the same bytes.
        jobs: number of rendering processes; None for one per core.
        progress: wraps the loop over scenes, given their number, to show the progress.

    Returns:
        The number of scenes newly written.

    Raises:
        InputError: options out of range, or the folder contains something else.
    """
    root = Path(root)
    counts = claim_folder(root, size, train, val, seed, layout='cityscapes')
    missing = []
    for split, count in counts.items():
        for number in range(count):
            name = f'{split}/{CITIES[split]}/{CITIES[split]}_{number:06d}_000000'
            image_file = root / f'leftImg8bit/{name}_leftImg8bit.png'
            label_file = root / f'gtFine/{name}_gtFine_labelTrainIds.png'
            if not (image_file.is_file() and label_file.is_file()):
                missing.append((FIRST_SCENE[split] + number, image_file, label_file))
    write = functools.partial(_write_scene, size, seed)
    for _ in progress(run_jobs(write, missing, jobs), len(missing)):
        pass
    return len(missing)


def _write_scene(size: tuple[int, int], seed: int, job: tuple[int, Path, Path]) -> None:
    """Render one scene into its two files."""
    index, image_file, label_file = job
    scene = render_scene(*size, seed, index)
    write_whole(image_file, image_bytes(scene.image, '.png'))
    write_whole(label_file, image_bytes(scene.labels, '.png'))
