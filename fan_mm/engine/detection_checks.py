"""Mistakes in a detection config and its COCO annotations, found before training starts."""

import json
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from fan_mm.config_parts import metrics_of, type_name
from fan_mm.errors import InputError


def heads(model: dict) -> Iterator[tuple[str, dict]]:
    """Every head of a detector that has classes or masks, with its place in the config."""
    for key in ('bbox_head', 'mask_head', 'roi_head'):
        found = model.get(key)
        several = isinstance(found, list | tuple)
        for index, head in enumerate(found if several else [found]):
            if not isinstance(head, dict):
                continue
            place = f'{key}.{index}' if several else key
            if key == 'roi_head':
                yield from ((f'roi_head.{inner}', part) for inner, part in heads(head))
            else:
                yield place, head


def check_coco(place: str, dataset: dict, classes: tuple, model: dict, split: str) -> None:
    """Check a COCO dataset's annotations and images against the detector.

    Args:
        place: where the dataset stands in the config, for the error's line.
        dataset: its config; its files exist.
        classes: names of the dataset's classes, in the order of the labels.
        model: the detector's config.
        split: 'train', 'val' or 'test'.

    Raises:
        InputError: the classes are not the head's or the annotations', the dataset is empty, an
            image is missing, or masks are.
    """
    for head_place, head in heads(model):
        # a detector that takes its classes as words has none of its own
        number = None if 'language_model' in model else head.get('num_classes')
        if number is not None and number != len(classes):
            raise InputError(
                f'{place} has {_few(classes)}, but model.{head_place}.num_classes is {number}: set '
                'that, or metainfo.classes of the datasets'
            )
    root = Path(dataset.get('data_root') or '')
    file = root / dataset['ann_file']
    try:
        content = json.loads(file.read_bytes())
        images, annotations = content['images'], content.get('annotations')
        categories = {entry['id']: entry['name'] for entry in content['categories']}
    except (ValueError, KeyError, TypeError):
        raise InputError(f'{place}: {file} is no annotation file of COCO') from None
    named = tuple(name for name in categories.values() if name in classes)
    if named != tuple(classes):
        why = 'other classes' if set(named) != set(classes) else 'its classes in another order'
        raise InputError(
            f'{place} has {_few(classes)}, but {file} has {why} ({_few(categories.values())}): '
            'set metainfo.classes of the datasets'
        )
    known = {id_ for id_, name in categories.items() if name in classes}
    wanted = [a for a in annotations or () if a.get('category_id') in known]
    to_be_seen = annotations is None and split == 'test'  # as the file of COCO's test-dev
    if not images or not (wanted or to_be_seen):
        what = 'objects of these classes' if images else 'images'
        raise InputError(f'{place} is empty: {file} has no {what}')
    _check_images(place, dataset, root, [image['file_name'] for image in images])
    mask_head = next((where for where, _ in heads(model) if where.endswith('mask_head')), None)
    if split == 'train' and mask_head:
        _check_masks(place, dataset, file, wanted, mask_head)


def check_evaluators(cfg: Config, names: tuple[str, ...]) -> None:
    """Check that the annotation files exist from which metrics take the truth.

    Raises:
        InputError: one does not.
    """
    for name in names:
        for metric in metrics_of(cfg.get(name)):
            if not isinstance(metric, dict):  # built already
                continue
            file = metric.get('ann_file')
            local = not (metric.get('backend_args') or {}) and '://' not in str(file)
            if file and local and not Path(file).is_file():
                raise InputError(f'{name}.ann_file: no such file: {file}')


def _check_images(place: str, dataset: dict, root: Path, names: list[str]) -> None:
    folder = root / ((dataset.get('data_prefix') or {}).get('img') or '')
    # one look into the folder, not one at each of 118 thousand files
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    missing = [name for name in names if name not in there and not (folder / name).is_file()]
    if missing:
        more = f' and {len(missing) - 1} more' if len(missing) > 1 else ''
        raise InputError(f'{place}: no image {folder / missing[0]}{more}')


def _check_masks(place: str, dataset: dict, file: Path, annotations: list, mask_head: str) -> None:
    without = [a for a in annotations if not a.get('segmentation') and not a.get('iscrowd')]
    if without:
        raise InputError(
            f'{place}: {len(without)} of {len(annotations)} annotations of {file} have no masks, '
            f'which model.{mask_head} needs: use a Faster R-CNN, or annotations with masks'
        )
    for step in dataset.get('pipeline') or ():
        if type_name(step).endswith('LoadAnnotations') and not step.get('with_mask'):
            raise InputError(
                f'{place}.pipeline: LoadAnnotations needs with_mask=True for model.{mask_head}'
            )


def _few(names) -> str:
    """How many classes, and the first of their names."""
    names = list(names)
    shown = ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
    return f'{len(names)} classes ({shown})'
