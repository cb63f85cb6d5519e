"""Images that are already cropped, and that the pipeline crops again.

ImageNet's images have many sizes. If all sampled images have the model's input size, they have been
cropped before; a pipeline that resizes and centre-crops them again shows the model less of the image
than intended. Data sets whose images originally have one size are not checked.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fan_mm.evaluation.loading.nested_transforms import insert
from fan_mm.evaluation.loading.picture_flow import Frame, Look, copied, run
from fan_mm.evaluation.pipelines import first_sample, landmarks_of
from fan_mm.evaluation.samples import spread
from fan_mm.images import read_header

_LOOKED_AT = 16  # images
_EDGE = 1 / 56  # of an image's shorter side
_IMAGENET = 1000  # classes


def cropped_twice(dataset: Any, paths: Sequence[str], classes: int) -> dict[str, Any] | None:
    """The size of images that are cropped twice.

    Returns:
        'size' (width and height) and 'looked_at' (number of images); None if the images are not cropped
        twice or this cannot be determined.
    """
    transforms = getattr(getattr(dataset, 'pipeline', None), 'transforms', None)
    if classes != _IMAGENET or transforms is None:
        return None
    chosen = [paths[i] for i in spread(len(paths), _LOOKED_AT)]
    headers = [read_header(Path(path)) for path in chosen if '://' not in path]
    sizes = {header.size if header else None for header in headers}
    sample = first_sample(dataset)
    if len(headers) < _LOOKED_AT or len(sizes) > 1 or sample is None:
        return None
    size = sizes.pop()
    if size is None:
        return None
    marks = landmarks_of(transforms, dataset, sample)
    width, height = size
    frame, look = Frame((height, width), max(1, round(min(size) * _EDGE))), Look()
    framed = insert(transforms, frame, marks.loads, after=True)
    run(copied(insert(framed, look, marks.packs, after=False)), sample)
    for results in look.seen:
        shape = getattr(results.get('img'), 'shape', ())[:2]
        if marks.classifies and tuple(shape[::-1]) == size and frame.is_cut(results):
            return {'size': list(size), 'looked_at': len(headers)}
    return None
