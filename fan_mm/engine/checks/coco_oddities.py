"""Objects in COCO files that raise no error, but mean something other than intended."""

from collections.abc import Collection

from fan_mm.engine.checks.coco_files import CocoFile
from fan_mm.engine.checks.files import evenly

_LOOKED_AT = 10_000  # annotations, evenly spaced
_FEW = 3  # boxes that might be by chance


def odd_objects(file: CocoFile, classes: Collection[str], masks: str | None) -> list[str]:
    """Lines for the log about boxes of another form and polygons that are none.

    Args:
        file: an annotation file that `check_as_dataset` has passed.
        classes: names of the dataset's classes.
        masks: what reads masks, if something does.
    """
    wanted = set(file.ids_of(classes))
    annotations = file.annotations or []
    some = [
        entry
        for entry in evenly(annotations, _LOOKED_AT)
        if entry['image_id'] in file.images
        and entry['category_id'] in wanted
        and not entry.get('iscrowd')
        and not entry.get('ignore')
    ]
    return _corners(file, some) + (_few_points(file, some, masks) if masks else [])


def _corners(file: CocoFile, entries: list[dict]) -> list[str]:
    """Boxes that are [x1, y1, x2, y2]: read as COCO's, many reach beyond their images."""
    beyond = 0
    for entry in entries:
        image, (x, y, width, height) = file.images[entry['image_id']], entry['bbox']
        right, bottom = image['width'] + 1, image['height'] + 1
        if not (x < width <= right and y < height <= bottom):
            return []
        beyond += x + width > right or y + height > bottom
    if beyond < _FEW:
        return []
    return [
        f'{file.path}: {beyond} of {len(entries)} boxes extend beyond their images, and all would fit as '
        '[x1, y1, x2, y2]: COCO boxes are [x, y, width, height]'
    ]


def _few_points(file: CocoFile, entries: list[dict], masks: str) -> list[str]:
    """Polygons of fewer than three points: mmdet leaves their objects out."""
    lost = [
        entry['id']
        for entry in entries
        if isinstance(polygons := entry.get('segmentation'), list)
        and all(isinstance(part, list) for part in polygons)  # or it is left out before
        and not any(len(part) >= 6 and len(part) % 2 == 0 for part in polygons)
    ]
    if not lost:
        return []
    return [
        f'{file.path}: {len(lost)} of {len(entries)} objects have no polygon with at least three points (the '
        f'first is annotation {lost[0]!r}): {masks} leaves them out, pycocotools counts them'
    ]
