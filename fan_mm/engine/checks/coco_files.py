"""COCO annotation files, checked for what mmdet and pycocotools would read without complaint.

Each function reads the annotations once and raises at the first one that would make a training or evaluation
fail, or would be misinterpreted.
"""

import functools
import inspect
import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fan_mm.errors import InputError


@dataclass(frozen=True)
class CocoFile:
    """An annotation file with valid and unique ids of images, categories and annotations.

    Attributes:
        path: path of the file.
        images: id -> entry, in the file's order.
        categories: id -> name, in the file's order.
        annotations: the entries; None if the file has none, like COCO's test-dev.
        has_info: whether it has an 'info' entry.
    """

    path: Path
    images: dict[Any, dict]
    categories: dict[Any, str]
    annotations: list[dict] | None
    has_info: bool

    def fault(self, entry: dict, what: str) -> InputError:
        """The error of one annotation."""
        return InputError(f'{self.path}: annotation {entry.get("id")!r} {what}')

    def refuse_twice(self, ids: Iterable) -> None:
        """Refuse annotations of which two have the same id."""
        if (twice := _first_twice(ids)) is not None:
            raise InputError(f'{self.path}: two annotations have the id {twice!r}')

    def ids_of(self, classes: Collection[str]) -> list:
        """Ids of the categories of these names, in the file's order: that of the labels."""
        return [id_ for id_, name in self.categories.items() if name in classes]


def read_coco(path: Path) -> CocoFile:
    """Read an annotation file as pycocotools does, and index it.

    Raises:
        InputError: it is not a COCO file, or an id is missing, invalid, used twice, or of another type than
            the one it refers to.
    """
    content = _parsed(path)
    images, categories = content['images'], content['categories']
    annotations = content.get('annotations')
    _check_ids(path, images, categories, annotations or ())
    file = CocoFile(
        path,
        {image['id']: image for image in images},
        {category['id']: category['name'] for category in categories},
        annotations,
        'info' in content,
    )
    for entry in annotations or ():
        for key, known in (('image_id', file.images), ('category_id', file.categories)):
            if entry[key] not in known and (other := _as_other_type(entry[key])) in known:
                raise file.fault(
                    entry,
                    f'has {_shown(entry, key)}, which matches nothing: the id is {json.dumps(other)}',
                )
    return file


def _parsed(path: Path) -> dict[str, Any]:
    """The content of a file: 'images' and 'categories' are lists of dicts, and 'annotations' if given."""
    no_coco = f'{path} is not a COCO annotation file'
    data = path.read_bytes()
    if data.startswith(b'\xef\xbb\xbf'):
        raise InputError(f'{no_coco}: it begins with a byte order mark; save it as plain UTF-8')
    if data.startswith(b'\x1f\x8b'):
        raise InputError(f'{no_coco}: it is compressed; decompress it')
    if not data:
        raise InputError(f'{no_coco}: it is empty (0 bytes)')
    try:
        content = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(f'{no_coco}: it is not JSON in UTF-8 ({error})') from None
    names = ('images', 'categories', 'annotations')
    lists = [content.get(name) for name in names] if isinstance(content, dict) else [None]
    if lists[-1] is None:
        lists.pop()  # annotations are optional
    if len(lists) < 2 or not all(
        isinstance(part, list) and all(isinstance(entry, dict) for entry in part) for part in lists
    ):
        raise InputError(f'{no_coco}: it needs lists of images, annotations and categories')
    return content


def _check_ids(
    path: Path, images: Sequence[dict], categories: Sequence[dict], annotations: Sequence[dict]
) -> None:
    """Check that all entries have ids, and that those of images and categories are unique."""
    for kind, entries, keys in (
        ('image', images, ('id',)),
        ('category', categories, ('id', 'name')),
        ('annotation', annotations, ('id', 'image_id', 'category_id')),
    ):
        for index, entry in enumerate(entries):
            for key in keys:
                if not isinstance(entry.get(key), int | float | str):
                    raise InputError(
                        f'{path}: {kind} {entry.get("id", f"number {index + 1}")!r} has '
                        f'{_shown(entry, key)}'
                    )
    for kind, entries in (('images', images), ('categories', categories)):
        if (twice := _first_twice(entry['id'] for entry in entries)) is not None:
            raise InputError(f'{path}: two {kind} have the id {twice!r}: all but one would be lost')
    if len({isinstance(image['id'], str) for image in images}) > 1:
        raise InputError(
            f'{path}: image ids are a mixture of numbers and text, which pycocotools confuses'
        )


def unknown_categories(file: CocoFile) -> list[str]:
    """A line for the log if objects are left out because the file does not name their category.

    If ids begin at 0 in one list and at 1 in the other, all names are shifted by one.
    """
    annotations = file.annotations or []
    lost = [e['category_id'] for e in annotations if e['category_id'] not in file.categories]
    if not lost:
        return []
    return [
        f'{file.path}: {len(lost)} of {len(annotations)} annotations have a category_id that no category '
        f'has (the first is {lost[0]!r}): they are left out'
    ]


def check_as_dataset(file: CocoFile, classes: Collection[str], masks: str | None) -> int:
    """Check what mmdet's ``CocoDataset`` reads.

    Args:
        file: the annotation file.
        classes: names of the dataset's classes.
        masks: the part of the config that reads masks, if any.

    Returns:
        Number of objects that the dataset will have: those of these classes, at least one pixel wide and
        high, and inside their image.

    Raises:
        InputError: the first annotation or image that the dataset would fail on or misunderstand.
    """
    for id_, info in file.images.items():
        if not isinstance(info.get('file_name'), str):
            raise InputError(f'{file.path}: image {id_!r} has {_shown(info, "file_name")}')
        for key in ('height', 'width'):
            if not _is_number(info.get(key)):
                raise InputError(f'{file.path}: image {id_!r} has {_shown(info, key)}')
    wanted = set(file.ids_of(classes))
    usable, ids = 0, []
    for entry in file.annotations or ():
        image = file.images.get(entry['image_id'])
        if image is None:
            continue
        ids.append(entry['id'])
        for key in ('ignore', 'iscrowd'):
            if isinstance(entry.get(key), str):  # the string '0' would be true
                raise file.fault(entry, f'has {_shown(entry, key)}')
        if entry.get('ignore'):
            continue
        _check_box(file, entry)
        x, y, width, height = entry['bbox']
        inside = min(x + width, image['width']) > max(x, 0)
        if not inside or min(y + height, image['height']) <= max(y, 0):
            continue
        if not _is_number(entry.get('area')):
            raise file.fault(entry, f'has {_shown(entry, "area")}')
        if entry['area'] <= 0 or width < 1 or height < 1 or entry['category_id'] not in wanted:
            continue
        if masks and not _is_mask(entry.get('segmentation')):
            raise file.fault(entry, f'has {_shown(entry, "segmentation")}, but {masks} needs masks')
        if masks and isinstance(entry['segmentation'], dict):
            _check_runs(file, entry, whole=False)
        usable += 1
    file.refuse_twice(ids)
    return usable


def check_as_truth(
    file: CocoFile, classes: Collection[str], images: Iterable | None, kinds: Collection[str]
) -> list[str]:
    """Check what pycocotools reads of the annotations that predictions are compared with.

    Args:
        file: the annotation file.
        classes: names of the dataset's classes.
        images: ids of the evaluated images; None for all images in the file.
        kinds: 'bbox', 'segm', 'proposal', 'proposal_fast'.

    Returns:
        Lines for the log about annotations that are always ignored.

    Raises:
        InputError: the first annotation that the evaluation would fail on or misunderstand.
    """
    images = file.images.keys() if images is None else set(images)
    wanted = set(file.ids_of(classes))
    if file.annotations is None:
        return [
            f'{file.path} has no annotations, so there is no score: evaluate a split with annotations, '
            'or write a server submission with format_only=True'
        ]
    ids = []
    notes: list[str] = []
    counted = ignored = 0
    other_size = ''
    for entry in file.annotations:
        if entry['image_id'] not in images or entry['category_id'] not in wanted:
            continue
        ids.append(entry['id'])
        _check_crowd(file, entry)
        counted += not entry['iscrowd']
        ignored += bool(entry.get('ignore')) and not entry['iscrowd']
        if not _is_number(entry.get('area')):
            raise file.fault(entry, f'has {_shown(entry, "area")}')
        if set(kinds) - {'segm'}:
            _check_box(file, entry)
            why = _why_never_found(entry, file.images[entry['image_id']])
            if why and not notes and not entry['iscrowd']:
                fault = file.fault(entry, f'has {_shown(entry, "bbox")}')
                notes.append(f'{fault}: {why}, it always counts as missed')
        if 'segm' in kinds:
            _check_mask(file, entry)
            other_size = other_size or _other_size(file, entry)
        if isinstance(entry['id'], str) and not _is_number_as_text(entry['id']):
            raise file.fault(entry, 'has an id that is not a number, but pycocotools needs one')
    file.refuse_twice(ids)
    if ids and not counted:
        notes.append(
            f'{file.path}: all {len(ids)} evaluated annotations have iscrowd 1, so there is no score: '
            'objects must have 0'
        )
    if other_size:
        notes.append(other_size)
    if ignored:
        notes.append(
            f'{file.path}: {ignored} objects have ignore 1, but pycocotools counts them as missed unless '
            'iscrowd is 1'
        )
    if any(float(id_) == 0 for id_ in ids):
        notes.append(
            f'{file.path}: the annotation with id 0 never counts as found (pycocotools): start ids at 1'
        )
    return notes


@functools.cache
def needs_info() -> bool:
    """Whether the installed pycocotools requires ``info`` in a file."""
    from pycocotools.coco import COCO

    return "self.dataset['info']" in inspect.getsource(COCO.loadRes)


def _check_crowd(file: CocoFile, entry: dict) -> None:
    try:
        whole = int(entry['iscrowd'])
    except (KeyError, TypeError, ValueError, OverflowError):
        whole = None
    if whole is None or isinstance(entry['iscrowd'], str):
        raise file.fault(entry, f'has {_shown(entry, "iscrowd")}, but pycocotools needs 0 or 1')


def _check_box(file: CocoFile, entry: dict) -> None:
    box = entry.get('bbox')
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise file.fault(entry, f'has {_shown(entry, "bbox")}: it must be [x, y, width, height]')


def _why_never_found(entry: dict, image: dict) -> str:
    """Why no box that mmdet predicts can match this one; '' if one can."""
    x, y, width, height = entry['bbox']
    if min(width, height) < 0:
        return 'of negative size'
    if not width or not height:
        return 'of no size'
    right, bottom = (image.get(key) for key in ('width', 'height'))
    if not _is_number(right) or not _is_number(bottom):
        return ''
    inside = x < right and y < bottom and x + width > 0 and y + height > 0
    return '' if inside else 'outside its image'


def _is_mask(value: Any) -> bool:
    """Whether mmdet makes a mask of it, or at least an ignored object."""
    polygons = isinstance(value, list) and all(map(_is_polygon, value))
    return bool(value) and (polygons or isinstance(value, dict))


def _is_polygon(part: Any) -> bool:
    """Whether it is a list of numbers rather than of points, judged by the first one."""
    return isinstance(part, list) and not isinstance(part[0] if part else 0, list)


def _check_mask(file: CocoFile, entry: dict) -> None:
    """Check polygons, or a run-length code of the image's size, as pycocotools and mmdet accept them."""
    mask, image = entry.get('segmentation'), file.images[entry['image_id']]
    size = [image.get('height'), image.get('width')]
    if isinstance(mask, dict):
        _check_runs(file, entry, whole=True)
        if isinstance(mask['counts'], str) and mask['size'] != size:
            raise file.fault(entry, _of_size(mask, size))
        return
    parts = mask if isinstance(mask, list) else []
    if not parts or not all(map(_is_polygon, parts)) or len(parts[0]) < 4:
        raise file.fault(
            entry, f'has {_shown(entry, "segmentation")}, not polygons or run-length encoding'
        )
    if not all(map(_is_number, size)):
        key = 'width' if _is_number(size[0]) else 'height'
        raise InputError(f'{file.path}: image {image["id"]!r} has {_shown(image, key)}')


def _other_size(file: CocoFile, entry: dict) -> str:
    """A line about a list of runs of another size than the file gives the image, whose size may be wrong."""
    mask, image = entry['segmentation'], file.images[entry['image_id']]
    size = [image.get('height'), image.get('width')]
    if not isinstance(mask, dict) or mask['size'] == size:
        return ''
    return f'{file.fault(entry, _of_size(mask, size))}: no prediction overlaps it if the image has that size'


def _of_size(mask: dict, size: list) -> str:
    return f'has a segmentation of size {mask["size"]}, but its image {size} (height first)'


def _check_runs(file: CocoFile, entry: dict, whole: bool) -> None:
    """A run-length code that fills its size: as a whole for pycocotools, which else never ends comparing it."""
    counts: Any = entry['segmentation'].get('counts')
    size: Any = entry['segmentation'].get('size')
    if not isinstance(counts, list | str):
        raise file.fault(entry, 'has a segmentation without counts')
    if not isinstance(size, list) or len(size) != 2 or not all(map(_is_number, size)):
        raise file.fault(entry, 'has a segmentation without its size, [height, width]')
    if isinstance(counts, str):
        return
    pixels = math.prod(size)
    # Fast path, because a file may have millions of runs.
    whole_numbers = set(map(type, counts)) <= {int} or all(
        isinstance(run, int | float) and run % 1 == 0 for run in counts
    )
    good = whole_numbers and min(counts, default=0) >= 0
    if not good or sum(counts) > pixels or (whole and sum(counts) < pixels):
        raise file.fault(entry, f'has a segmentation whose counts do not add up to {pixels} pixels')


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _as_other_type(id_: Any) -> Any:
    """A number for a text, a text for a number; None if there is none."""
    if not isinstance(id_, str):
        return str(int(id_)) if math.isfinite(id_) else None
    return int(id_) if id_.isdecimal() else None


def _is_number_as_text(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(entry: dict, key: str) -> str:
    """'no area', 'area None', ..."""
    if key not in entry:
        return f'no {key}'
    text = json.dumps(entry[key])
    return f'{key} {text if len(text) < 60 else text[:60] + "..."}'


def _first_twice(ids: Iterable) -> Any:
    """The first id that occurs twice, or None."""
    seen = set()
    for id_ in ids:
        if id_ in seen:
            return id_
        seen.add(id_)
    return None
