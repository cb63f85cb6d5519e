"""Classes as people see them: ImageNet's words in the place of WordNet ids, each name once; colours."""

import functools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any


def readable(classes: Iterable[object]) -> list[str]:
    """Names to show, in the same order.

    Args:
        classes: names as a dataset has them. Where all are WordNet ids of ImageNet's classes, they
            become its words ('tench, Tinca tinca' for n01440764). One that stands there more than once
            (ImageNet has two cranes) gets its index behind it: tables are keyed by names.
    """
    names = [str(name) for name in classes]
    words = _words()
    if names and all(name in words for name in names):
        names = [words[name] for name in names]
    times = Counter(names)
    return [f'{name} ({i})' if times[name] > 1 else name for i, name in enumerate(names)]


def palette_of(metainfo: Mapping[str, Any], classes: int) -> list[list[int]] | None:
    """The RGB colours of so many classes; None of a dataset without, or with 'random' ones (COCO's).

    mmdet keeps COCO's 80 colours where the config names other classes.
    """
    palette = metainfo.get('palette')
    if not isinstance(palette, list | tuple):
        return None
    return [[int(value) for value in colour] for colour in palette[:classes]]


def are_imagenet(classes: Sequence[object]) -> bool:
    """Whether a folder dataset's classes are ImageNet's 1000, by their WordNet ids."""
    return len(classes) == 1000 and list(map(str, classes)) == list(_words())


@functools.cache
def _words() -> dict[str, str]:
    """WordNet id -> words of ImageNet's classes, in the order of their indices."""
    path = resources.files('fan_mm.evaluation.data') / 'imagenet_classes.json'
    return json.loads(path.read_text(encoding='utf-8'))['classes']
