"""Mistakes in a detection config and its COCO annotations, found before anything starts."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS

from fan_mm.config_parts import metrics_of, steps_of, type_name
from fan_mm.engine.checks.backends import check_storage
from fan_mm.engine.checks.coco_files import (
    CocoFile,
    check_as_dataset,
    check_as_truth,
    needs_info,
    read_coco,
    unknown_categories,
)
from fan_mm.engine.checks.coco_oddities import odd_objects
from fan_mm.engine.checks.datasets import chosen
from fan_mm.engine.checks.files import (
    evenly,
    is_local,
    listed_twice,
    other_size,
    refuse_empty,
    refuse_missing,
    turned_photos,
)
from fan_mm.engine.checks.models import parts_of
from fan_mm.engine.config.registered import base_named, inherits, package, registered
from fan_mm.engine.overlap_thresholds import check_overlap_thresholds
from fan_mm.errors import InputError
from fan_mm.few_names import few


@dataclass(frozen=True)
class CocoPart:
    """A COCO dataset of a split.

    Attributes:
        classes: names of its classes, in the order of the labels.
        images: ids of its images; None if some of the file's are filtered out.
        notes: lines for the log.
    """

    classes: tuple[str, ...]
    images: list | None
    notes: list[str] = field(default_factory=list)


def heads(model: dict) -> Iterator[tuple[str, dict]]:
    """Every head of a detector that has classes or masks, with its place in the model's config."""
    for key in ('bbox_head', 'mask_head', 'roi_head'):
        for place, head in parts_of(model, key):
            place = place.removeprefix('model.')
            if key == 'roi_head':
                yield from ((f'{place}.{inner}', part) for inner, part in heads(head))
            else:
                yield place, head


def reads_as_coco(cls: Any) -> bool:
    """Whether a dataset's class reads annotations as mmdet's ``CocoDataset``, which it may extend."""
    return inherits(cls, 'CocoDataset', 'mmdet', 'load_data_list', 'parse_data_info', 'COCOAPI')


def check_classes_of_heads(place: str, classes: Sequence[str], model: dict) -> None:
    """Check that a detector's heads have the classes of a COCO dataset.

    Raises:
        InputError: they have more or fewer.
    """
    for head_place, head in heads(model):
        # Open-vocabulary detectors take the classes as text.
        number = None if 'language_model' in model else head.get('num_classes')
        if number is not None and number != len(classes):
            raise InputError(
                f'{place} has {_classes(classes)}, but model.{head_place}.num_classes is {number}: set '
                'that, or metainfo.classes of the datasets'
            )


def check_coco(
    place: str,
    dataset: dict,
    classes: tuple[str, ...],
    model: dict,
    split: str,
    read: Callable[[Path], CocoFile] = read_coco,
) -> CocoPart:
    """Check a COCO dataset's annotations and images.

    Args:
        place: where the dataset stands in the config, for the error's line.
        dataset: its config; its files exist.
        classes: names of the dataset's classes, in the order of the labels.
        model: the detector's config.
        split: 'train', 'val' or 'test'.
        read: reads an annotation file, perhaps from memory.

    Raises:
        InputError: the classes do not match the annotations, the dataset is empty, images or masks are
            missing, or mmdet could not read the file.
    """
    root = Path(dataset.get('data_root') or '')
    file = read(root / dataset['ann_file'])
    _check_names(place, classes, file)
    steps = list(steps_of(dataset.get('pipeline')))
    loads_masks = any(
        type_name(step).endswith('LoadAnnotations') and step.get('with_mask') for step in steps
    )
    # BoxInst learns masks from boxes.
    of_masks = (
        where
        for where, head in heads(model)
        if 'mask_head' in where and type_name(head) != 'BoxInstMaskHead'
    )
    if split == 'train' and (mask_head := next(of_masks, None)):
        _check_masks(place, file, classes, steps, mask_head)
    masks = 'LoadAnnotations(with_mask=True)' if loads_masks else None
    usable = check_as_dataset(file, classes, masks)
    to_be_seen = file.annotations is None and split == 'test'  # like COCO's test-dev
    if not file.images or not (usable or to_be_seen):
        raise InputError(f'{place} is empty: {file.path} has no {_lacking(file)}')
    images = chosen(list(file.images), dataset.get('indices'))
    prefix = dataset.get('data_prefix') or {}
    paths = [root / (prefix.get('img') or '') / file.images[id_]['file_name'] for id_ in images]
    hint = ': their folder is data_prefix.img' if prefix and 'img' not in prefix else ''
    refuse_missing(place, 'image', paths, hint)
    refuse_empty(place, paths)
    filtered = dataset.get('filter_cfg') if not dataset.get('test_mode') else None
    if filtered and inherits(
        registered(DATASETS, place, dataset), 'CocoDataset', 'mmdet', 'filter_data'
    ):
        _check_filter(place, filtered, file)
    notes = [
        *unknown_categories(file),
        *odd_objects(file, classes, masks),
        *_other_sizes(file, dict(zip(images, paths, strict=True)), dataset.get('pipeline')),
        *turned_photos(place, paths, dataset.get('pipeline')),
        *([] if split == 'train' else listed_twice(str(file.path), paths)),
    ]
    return CocoPart(classes, None if filtered else images, notes)


def _lacking(file: CocoFile) -> str:
    """What a file without any usable object has none of."""
    if not file.images:
        return 'images'
    if not file.annotations:
        return 'objects of these classes'
    if not {entry['image_id'] for entry in file.annotations} & file.images.keys():
        return 'objects of these classes: no image_id of an annotation matches an image'
    return (
        'objects of these classes inside its images, at least one pixel wide and with an area above 0 (bbox is '
        '[x, y, width, height] in pixels)'
    )


def _check_filter(place: str, filter_cfg: dict, file: CocoFile) -> None:
    """Check that mmdet's filter keeps at least one image: otherwise it ends with an error of numpy."""
    longest = max(min(image['width'], image['height']) for image in file.images.values())
    least = filter_cfg.get('min_size', 0)
    if longest < least:
        raise InputError(
            f'{place}.filter_cfg.min_size={least} leaves no image: the short sides of those in {file.path} have '
            f'{longest} pixels or fewer'
        )


def _other_sizes(file: CocoFile, paths: dict[Any, Path], pipeline: Any) -> list[str]:
    """A line for the log about the first of some images that the file gives another size."""
    for id_ in evenly(list(paths)):
        image = file.images[id_]
        if size := other_size(paths[id_], (image['height'], image['width']), pipeline):
            return [
                f'{file.path} gives {paths[id_]} {image["width"]}x{image["height"]} pixels, but it has '
                f'{size}: mmdet clips boxes, and drops those outside, by the size in the file'
            ]
    return []


def check_evaluators(cfg: Config, names: Sequence[str]) -> list[str]:
    """`check_evaluator` for scripts: of evaluators of a config, whatever datasets they are of."""
    return [note for name in names for note in check_evaluator(name, cfg.get(name))]


def check_evaluator(
    name: str,
    evaluator: Any,
    parts: Sequence[CocoPart | None] = (),
    read: Callable[[Path], CocoFile] = read_coco,
) -> list[str]:
    """Check the annotation files from which metrics take the truth.

    Args:
        name: the evaluator's place in the config.
        evaluator: its config.
        parts: the datasets of its split; None for datasets that are not COCO datasets.
        read: reads an annotation file, possibly cached.

    Returns:
        Lines for the log.

    Raises:
        InputError: a file is missing, has other classes or lacks images of the datasets, or lacks what
            pycocotools reads.
    """
    notes = []
    metrics = metrics_of(evaluator)
    one_each = type_name(evaluator) == 'MultiDatasetsEvaluator' and len(metrics) == len(parts)
    for index, metric in enumerate(metrics):
        if not isinstance(metric, dict):  # already built
            continue
        check_storage(name, metric)
        if 'iou_thrs' in metric and _is_coco_metric(name, metric):
            check_overlap_thresholds(name, metric)
        file = metric.get('ann_file')
        if isinstance(file, list | tuple) and _is_coco_metric(name, metric):
            raise InputError(
                f'{name}.ann_file is a list, but a metric takes one: for several datasets, use a '
                'MultiDatasetsEvaluator'
            )
        if not isinstance(file, str) or not file or not is_local(metric, file):
            continue
        if not Path(file).is_file():
            raise InputError(f'{name}.ann_file: no such file: {file}')
        theirs = [parts[index]] if one_each else parts
        own = [part for part in theirs if part is not None]
        if not own or len(own) < len(theirs):
            continue
        place, classes = f'{name}.ann_file', own[0].classes
        if metric.get('classwise') and _names_by_file(name, metric):
            notes += _confused_classes(place, classes, read(Path(file)))
        if _is_coco_metric(name, metric):
            notes += _check_truth(place, metric, own, read(Path(file)))
    return notes


def _is_coco_metric(name: str, metric: dict) -> bool:
    """Whether a metric gets its scores from pycocotools, as mmdet's ``CocoMetric`` does."""
    cls = registered(METRICS, name, metric)
    base = base_named(cls, 'CocoMetric', 'mmdet')
    if base is None:
        return False
    return cls.__module__.startswith('fan_mm.') or cls.compute_metrics is base.compute_metrics


def _names_by_file(name: str, metric: dict) -> bool:
    """Whether a metric names values per class in the order of its file, as mmdet's, although sorted by id."""
    cls = registered(METRICS, name, metric)
    base = base_named(cls, 'CocoMetric', 'mmdet')
    return base is not None and package(cls.compute_metrics) == 'mmdet'


def _confused_classes(place: str, classes: Collection[str], file: CocoFile) -> list[str]:
    ids = file.ids_of(classes)
    if ids == sorted(ids):
        return []
    return [
        f'{place}: the category ids of {file.path} are not in ascending order, so the table of '
        'classwise=True in mmdet shows values of other classes: use FastCocoMetric, or sort the categories by id'
    ]


def _check_truth(place: str, metric: dict, parts: Sequence[CocoPart], file: CocoFile) -> list[str]:
    _check_names(place, parts[0].classes, file)
    if metric.get('format_only'):
        return []
    if not file.has_info and type_name(metric) == 'CocoMetric' and needs_info():
        raise InputError(
            f'{file.path} has no "info", which this version of pycocotools needs: add "info": {{}}'
        )
    images = None
    notes = []
    listed = [part.images for part in parts if part.images is not None]
    if len(listed) == len(parts):
        images = [id_ for ids in listed for id_ in ids]
        lacking = [id_ for id_ in images if id_ not in file.images]
        if lacking:
            raise InputError(
                f'{place}: {file.path} lacks {len(lacking)} of the {len(images)} images of the dataset '
                f'(the first has the id {lacking[0]!r}): use the annotation file of the dataset'
            )
        if twice := [id_ for id_, count in Counter(images).items() if count > 1]:
            notes.append(
                f'{place}: {len(twice)} image ids occur more than once among the {len(images)} images evaluated (the '
                f'first is {twice[0]!r}): mmdet takes them for one image, and mAP is wrong'
            )
        if len(file.images) > len(set(images)):
            notes.append(
                f'{place}: {file.path} has {len(file.images)} images, of which {len(set(images))} are '
                'evaluated: mmdet counts the objects of the others as missed'
            )
    kinds = metric.get('metric', 'bbox')
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return notes + check_as_truth(file, parts[0].classes, images, kinds)


def _check_names(place: str, classes: Collection[str], file: CocoFile) -> None:
    """Check that a file's categories give the labels of these classes: mmdet takes the file's order."""
    named = [name for name in file.categories.values() if name in classes]
    if named != list(classes):
        twice = len(set(named)) < len(named)
        why = 'other classes' if set(named) != set(classes) else 'its classes in another order'
        raise InputError(
            f'{place} has {_classes(classes)}, but {file.path} has '
            f'{"one of them twice" if twice else why} ({_classes(file.categories.values())}): '
            'set metainfo.classes of the datasets'
        )


def _check_masks(
    place: str, file: CocoFile, classes: Collection[str], steps: Sequence, mask_head: str
) -> None:
    known = set(file.ids_of(classes))
    wanted = [a for a in file.annotations or () if a['category_id'] in known]
    without = [a for a in wanted if not a.get('segmentation') and not a.get('iscrowd')]
    if without:
        raise InputError(
            f'{place}: {len(without)} of {len(wanted)} annotations of {file.path} have no masks, '
            f'which model.{mask_head} needs: use a Faster R-CNN, or annotations with masks'
        )
    for step in steps:
        if type_name(step).endswith('LoadAnnotations') and not step.get('with_mask'):
            raise InputError(
                f'{place}.pipeline: LoadAnnotations needs with_mask=True for model.{mask_head}'
            )


def _classes(names: Collection[str]) -> str:
    """How many classes, and the first of their names."""
    return f'{len(names)} classes ({few(names)})'
