"""Transforms inside transforms: Compose, TestTimeAug, RandomChoice, KeyMapper and the like."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

Transforms = list[Callable[[dict], Any]]


def names_of(transform: Any) -> list[str]:
    """Names of a transform's class and its bases, first its own.

    For a torchvision transform wrapped by mmpretrain, that of torchvision.
    """
    wrapped = getattr(transform, 't', None)
    return [base.__name__ for base in type(wrapped if callable(wrapped) else transform).__mro__]


def inside(transform: Any) -> list[tuple[str, list]]:
    """Attributes of a transform that hold transforms, as lists: a sequence or alternatives."""
    found = []
    for name in ('transforms', 'subroutines'):
        value = getattr(transform, name, None)
        if isinstance(value, list) and all(map(callable, value)):
            found.append((name, value))
        elif isinstance(getattr(value, 'transforms', None), list):
            found.append((name, [value]))
    return found


def change_inside(transform: Any, change: Callable[[list], list]) -> Any:
    """A copy of a transform that wraps others, with those changed; any other one as it is."""
    new = copy.copy(transform) if inside(transform) else transform
    for name, held in inside(transform):
        changed = change(held)
        setattr(new, name, changed if isinstance(getattr(new, name), list) else changed[0])
    return new


def flatten(transforms: Sequence) -> list:
    """All transforms of a pipeline, those inside wrappers (TestTimeAug and the like) too."""
    found = []
    for transform in transforms:
        found += [transform, *(t for _, held in inside(transform) for t in flatten(held))]
    return found


def insert(transforms: Sequence, step: Any, at: Callable[[Any], bool], after: bool) -> Transforms:
    """A copy of a list of transforms with ``step`` before, or ``after``, the first transform for which ``at`` holds.

    If no transform in the list matches, the transforms inside its wrappers are tried.

    Returns:
        The new list; equal to the old one if nothing matches.
    """
    transforms = list(transforms)
    for i, transform in enumerate(transforms):
        if at(transform):
            place = i + 1 if after else i
            return [*transforms[:place], step, *transforms[place:]]
    return [change_inside(t, lambda held: insert(held, step, at, after)) for t in transforms]
