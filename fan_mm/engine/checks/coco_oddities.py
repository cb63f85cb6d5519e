"""Objects in COCO files that raise no error, but mean something other than intended."""

from collections.abc import Collection

from fan_mm.engine.checks.coco_files import CocoFile
from fan_mm.engine.checks.files import evenly

_LOOKED_AT = 10_000  # annotations, evenly spaced
_FEW = 3  # number of boxes that may be a coincidence
_SAME = 0.1  # minimum IoU; outlines of partly hidden objects may be much smaller than their boxes


def odd_objects(file: CocoFile, classes: Collection[str], masks: str | None) -> list[str]:
    """Lines for the log about boxes of another form and polygons that are none, where `check_as_dataset` has passed."""
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
    of_masks = _few_points(file, some, masks) + _elsewhere(file, some) if masks else []
    return _corners(file, some) + _no_area(file, some) + of_masks


def _no_area(file: CocoFile, entries: list[dict]) -> list[str]:
    """Boxes whose area is 0 or signed: mmdet leaves their objects out. COCO has very few, by rounding."""
    lost = [
        entry['id']
        for entry in entries
        if isinstance(area := entry.get('area'), int | float)
        and area <= 0
        and min(entry['bbox'][2:]) >= 1
    ]
    if len(lost) < _FEW:
        return []
    return [
        f'{file.path}: {len(lost)} of {len(entries)} objects have no area above 0 (the first is annotation '
        f'{lost[0]!r}): mmdet leaves them out, pycocotools counts them'
    ]


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
        and all(isinstance(part, list) for part in polygons)  # others are skipped earlier
        and not any(len(part) >= 6 and len(part) % 2 == 0 for part in polygons)
    ]
    if not lost:
        return []
    return [
        f'{file.path}: {len(lost)} of {len(entries)} objects have no polygon with at least three points (the '
        f'first is annotation {lost[0]!r}): {masks} leaves them out, pycocotools counts them'
    ]


def _elsewhere(file: CocoFile, entries: list[dict]) -> list[str]:
    """Outlines that are not where the boxes are: relative coordinates, y before x, or of another image size."""
    outlines = [(entry, extent) for entry in entries if (extent := _extent(entry))]
    apart = [entry for entry, extent in outlines if _overlap(entry['bbox'], extent) < _SAME]
    if len(apart) < _FEW or 2 * len(apart) < len(outlines):
        return []
    return [
        f'{file.path}: the outlines of {len(apart)} of {len(outlines)} objects are not where their boxes are '
        f'(the first is annotation {apart[0]["id"]!r}): polygons are [x1, y1, x2, y2, ...] in pixels'
    ]


def _extent(entry: dict) -> tuple[float, float, float, float] | None:
    """The box around an object's polygons, (x1, y1, x2, y2); None without any."""
    polygons = entry.get('segmentation')
    if not isinstance(polygons, list) or not all(isinstance(part, list) for part in polygons):
        return None
    xs = [value for part in polygons for value in part[::2]]
    ys = [value for part in polygons for value in part[1::2]]
    if not ys or not all(isinstance(value, int | float) for value in xs + ys):
        return None
    return min(xs), min(ys), max(xs), max(ys)


def _overlap(box: list[float], extent: tuple[float, float, float, float]) -> float:
    """Intersection over union of a COCO box and corners, both grown by a pixel, as outlines may be lines."""
    left, top, width, height = box
    first = (left, top, left + max(width, 0) + 1, top + max(height, 0) + 1)
    second = (*extent[:2], extent[2] + 1, extent[3] + 1)
    sides = [min(first[i + 2], second[i + 2]) - max(first[i], second[i]) for i in (0, 1)]
    both = max(sides[0], 0) * max(sides[1], 0)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (first, second)]
    return both / (sum(areas) - both)
