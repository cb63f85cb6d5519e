"""Readable and unique class names, such as ImageNet's words instead of WordNet ids; class colours."""

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fan_mm.evaluation.data import facts


def readable(classes: Iterable[object]) -> list[str]:
    """Names to show, in the same order.

    Args:
        classes: names in a dataset's metainfo. If all are WordNet ids of ImageNet's classes, they are
            replaced by their words ('tench, Tinca tinca' for n01440764). Duplicates (ImageNet has two
            cranes) get their index appended, because tables are keyed by name.
    """
    names = [str(name) for name in classes]
    words = _words()
    if names and all(name in words for name in names):
        names = [words[name] for name in names]
    times = Counter(names)
    return [f'{name} ({i})' if times[name] > 1 else name for i, name in enumerate(names)]


def palette_of(metainfo: Mapping[str, Any], classes: int) -> list[list[int]] | None:
    """The RGB colours of the classes; None for a dataset without, or with others ('random', by name).

    mmdet keeps COCO's 80 colours even if the config has other classes.
    """
    palette = metainfo.get('palette')
    if not isinstance(palette, list | tuple):
        return None
    colours = palette[:classes]
    if not all(np.shape(colour) == (3,) for colour in colours):
        return None
    return [[int(value) for value in colour] for colour in colours]


def short(names: Sequence[str]) -> list[str]:
    """Names for tables and images: the first of several words, where no other class then has the same.

    'tench' for 'tench, Tinca tinca', but 'maillot, tank suit' beside 'maillot'.
    """
    times = Counter(map(_first, names))
    return [
        first if (first := name.split(',')[0].strip()) and times[_first(name)] == 1 else name
        for name in names
    ]


def with_word(key: str) -> str:
    """A picture's path and what its folder means: 'n01440764/x (tench)'; others as they are."""
    ids = re.findall(r'n\d{8}(?!\d)', key)
    word = next((words for id_ in ids if (words := _short_words().get(id_))), None)
    return f'{key} ({word})' if word else key


def are_imagenet(classes: Sequence[object]) -> bool:
    """Whether a dataset's classes are ImageNet's 1000 in their order.

    They are recognised by their WordNet ids, optionally followed by words (n01440764_tench), or by
    the first of their words ('tench').
    """
    return len(classes) == 1000 and all(
        re.match(rf'{id_}(?!\d)', name) or _first(name) == _first(words)
        for name, (id_, words) in zip(map(str, classes), _words().items(), strict=True)
    )


@functools.cache
def wordnet_ids() -> tuple[str, ...]:
    """The WordNet ids of ImageNet's 1000 classes, in the order of their indices."""
    return tuple(_words())


def _first(words: str) -> str:
    return words.split(',')[0].strip().lower()


@functools.cache
def _short_words() -> dict[str, str]:
    return dict(zip(_words(), short(readable(_words())), strict=True))


def _words() -> dict[str, str]:
    """WordNet id -> words of ImageNet's classes, in the order of their indices."""
    return facts('imagenet_classes')['classes']
