"""Class names as people read them: ImageNet's words in the place of WordNet ids, and each name once."""

import functools
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib import resources


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


def are_imagenet(classes: Sequence[object]) -> bool:
    """Whether a folder dataset's classes are ImageNet's 1000, by their WordNet ids."""
    return len(classes) == 1000 and list(map(str, classes)) == list(_words())


@functools.cache
def _words() -> dict[str, str]:
    """WordNet id -> words of ImageNet's classes, in the order of their indices."""
    path = resources.files('fan_mm.evaluation.data') / 'imagenet_classes.json'
    return json.loads(path.read_text(encoding='utf-8'))['classes']
