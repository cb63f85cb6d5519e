"""Scenes in the exact layout of COCO's instances, as mmdet's `CocoDataset` and pycocotools read it."""

import functools
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

from fan_mm.datasets.scenes.labels import THINGS, Label
from fan_mm.datasets.scenes.scene import Scene, render_scene
from fan_mm.datasets.scenes.storage import (
    FIRST_SCENE,
    claim_folder,
    image_bytes,
    run_jobs,
)
from fan_mm.fileio import write_whole

# The eight classes with instances of Cityscapes; category ids are 1 to 8 in this order.
_CATEGORY: dict[Label, int] = {label: i + 1 for i, label in enumerate(sorted(THINGS))}
COCO_CLASSES = tuple(label.title for label in _CATEGORY)
# Pixels; of a thing of which less is seen nobody could tell what it is: part of a crowd region.
MIN_AREA = 100
_ZOOM = (1.3, 2.6)
_REACH = (12.0, 28.0)
_EMPTY = 12  # one scene in so many is without people and vehicles


def write_coco(
    root: str | os.PathLike,
    size: tuple[int, int] = (192, 256),
    train: int = 600,
    val: int = 60,
    seed: int = 0,
    jobs: int | None = None,
    progress: Callable[[Iterable, int], Iterable] = lambda scenes, total: scenes,
) -> int:
    """Write a toy COCO; an existing split is kept, so an interrupted run can be continued.

    The scenes are those of `render_scene` with different focal lengths, with nearby objects only;
    some have none. Masks cover the visible parts of an object; the parts of a partially occluded
    object are polygons of one annotation. Objects that are too small to tell apart (`MIN_AREA`) are
    marked as crowds, as in COCO: connected regions of a class, run-length encoded, ``iscrowd=1``,
    which count neither as missed nor as false.

    Args:
        root: the dataset's folder. Images go to ``{train,val}2017/*.jpg``, annotations to
            ``annotations/instances_{train,val}2017.json``.
        size: height and width in pixels.
        train: number of images for training.
        val: number of images for validation.
        seed: non-negative; the same options give the same bytes.
        jobs: number of rendering processes; None for one per core.
        progress: wraps the loop over scenes, given their number, to show the progress.

    Returns:
        The number of scenes newly written.

    Raises:
        InputError: options out of range, or the folder contains something else.
    """
    root = Path(root)
    counts = claim_folder(root, size, train, val, seed, layout='coco')
    files = {split: root / f'annotations/instances_{split}2017.json' for split in counts}
    missing = [
        (FIRST_SCENE[split] + number, root / f'{split}2017')
        for split, count in counts.items()
        if not files[split].is_file()
        for number in range(count)
    ]
    write = functools.partial(_write_scene, size, seed)
    found: dict[Path, list] = {}
    for (_, folder), scene in zip(
        missing, progress(run_jobs(write, missing, jobs), len(missing)), strict=True
    ):
        found.setdefault(folder, []).append(scene)
    for split, file in files.items():
        if scenes := found.get(root / f'{split}2017'):
            write_whole(file, json.dumps(_document(scenes)))
    return len(missing)


def _document(scenes: list[tuple[dict, list[dict]]]) -> dict:
    """The annotation file of some images."""
    annotations = [annotation for _, found in scenes for annotation in found]
    for number, annotation in enumerate(annotations):
        annotation['id'] = number + 1  # pycocotools takes 0 for "no match"
    categories = [
        dict(id=number, name=label.title, supercategory='thing')
        for label, number in _CATEGORY.items()
    ]
    return dict(
        info=dict(description='street scenes rendered by fan_mm', version='1.0'),
        licenses=[],
        images=[image for image, _ in scenes],
        annotations=annotations,
        categories=categories,
    )


def _write_scene(
    size: tuple[int, int], seed: int, job: tuple[int, Path]
) -> tuple[dict, list[dict]]:
    """Render one scene into its file; returns its entry and its annotations."""
    index, folder = job
    rng = np.random.default_rng([seed, index, 1])  # not the scene's own stream
    zoom, reach = rng.uniform(*_ZOOM), rng.uniform(*_REACH)
    if index % _EMPTY == _EMPTY - 1:
        reach = 0.0
    scene = render_scene(*size, seed, index, zoom=zoom, reach=reach)
    name = f'{index:012d}.jpg'
    write_whole(folder / name, image_bytes(scene.image, '.jpg'))
    height, width = size
    image = dict(id=index, file_name=name, height=height, width=width)
    return image, [dict(image_id=index, **annotation) for annotation in annotate(scene)]


def annotate(scene: Scene) -> list[dict]:
    """Annotations of a scene's things and crowds, without ids.

    Returns:
        Dicts of ``category_id``, ``iscrowd``, ``area`` in pixels, ``bbox`` (x, y, w, h) and
        ``segmentation``.
    """
    annotations = []
    crowds: dict[int, np.ndarray] = {}
    for instance in scene.instances:
        mask = scene.entities == instance.id
        category = _CATEGORY[instance.label]
        if np.count_nonzero(mask) < MIN_AREA:
            crowds[category] = crowds.get(category, False) | mask
        else:
            annotations.append(_annotation(category, mask, False))
    for category, mask in crowds.items():
        count, regions = cv2.connectedComponents(mask.astype(np.uint8))
        annotations += [_annotation(category, regions == i, True) for i in range(1, count)]
    return annotations


def _annotation(category: int, mask: np.ndarray, crowd: bool) -> dict:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return dict(
        category_id=category,
        iscrowd=int(crowd),
        area=int(np.count_nonzero(mask)),
        bbox=[x, y, width, height],
        segmentation=run_lengths(mask) if crowd else polygons(mask),
    )


def run_lengths(mask: np.ndarray) -> dict:
    """COCO's uncompressed run-length code of a mask: runs of 0 and 1 in turn, column by column."""
    bits = mask.ravel(order='F').astype(np.int8)
    changes: np.ndarray = (
        np.flatnonzero(np.diff(bits, prepend=0)) if bits.size else np.empty(0, int)
    )
    counts = np.diff([0, *changes, bits.size])
    return dict(size=list(mask.shape), counts=counts.tolist())


def polygons(mask: np.ndarray) -> list[list[float]]:
    """Polygons (x, y, x, y, ...) of a mask's pieces, along the edges of their pixels.

    COCO has no holes: one is joined to its piece's outline by a line there and back, which encloses
    nothing under the even-odd rule by which pycocotools fills.
    """
    # of a mask twice as large OpenCV's outline, through centres of pixels, runs within the edge
    large = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, hierarchy = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    outlines = []
    for index, contour in enumerate(contours):
        if hierarchy[0, index, 3] >= 0:  # the outline of a hole
            continue
        points = [contour]
        hole = hierarchy[0, index, 2]
        while hole >= 0:
            points += [contour[:1], contours[hole], contours[hole][:1]]
            hole = hierarchy[0, hole, 0]
        outline = (np.concatenate(points).reshape(-1, 2) + 0.5) / 2
        outlines.append(outline.ravel().tolist())
    return outlines
