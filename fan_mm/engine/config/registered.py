"""The classes that a config names, found and built with one line for what goes wrong."""

import difflib
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.registry import MODELS, DefaultScope, Registry

from fan_mm.config_parts import type_name
from fan_mm.errors import InputError
from fan_mm.versions import TASK_LIBRARIES

LIBRARIES = ('mmengine', 'mmcv', *(library.module for library in TASK_LIBRARIES))


def registered(registry: Registry, place: str, cfg: dict) -> Any:
    """The class (or function) that a config would be built by, in the current scope.

    Args:
        registry: registry in which names are looked up.
        place: key of this config, for error messages.
        cfg: has a ``type``, which is a name, a scoped name or a class, and optionally a ``_scope_``.

    Raises:
        InputError: nothing of that name is registered, or no name is given.
    """
    kind = cfg.get('type')
    if not kind:
        raise InputError(f'{place} has no type')
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(cfg.get('_scope_')) as scoped:
        try:
            found = scoped.get(kind)
        except RuntimeError:  # a dotted name that does not exist
            found = None
        known = [*scoped.module_dict, *registry.module_dict]
    if found is None:
        near = difflib.get_close_matches(kind, known, 1)
        hint = (
            f'did you mean {near[0]}?'
            if near
            else 'add the module that defines it to custom_imports'
        )
        scope = DefaultScope.get_current_instance()
        if (scope is None or scope.scope_name == 'mmengine') and '.' not in kind:
            hint = "the config has no default_scope of a task ('mmseg', 'mmdet', 'mmpretrain')"
        elif library := missing_library(kind, scope.scope_name if scope else None):
            hint = f'there is no library {library}, which the config is for: install it'
        elif not near and scope is not None and scope.scope_name == 'mmpretrain':
            hint += ', or, of what takes text, pip install "mmpretrain[multimodal]"'
        raise InputError(f'{place}: nothing is registered as {kind}; {hint}')
    return found


def missing_library(kind: str, scope: str | None) -> str | None:
    """The library that a name's scope, else the default one, names, if it is neither registered nor installed."""
    library = kind.partition('.')[0] if '.' in kind else scope
    if not library or not library.isidentifier() or library in MODELS.children:
        return None
    there = library in sys.modules or importlib.util.find_spec(library) is not None
    return None if there or library == MODELS.scope else library


def package(thing: Any) -> str:
    """The package that defines a class or a function, such as 'mmdet'; '' if it does not tell."""
    return getattr(thing, '__module__', '').partition('.')[0]


def is_known(thing: Any) -> bool:
    """Whether a class or a function is of OpenMMLab's or ours, not a user's own."""
    return package(thing) in (*LIBRARIES, 'fan_mm')


def bases(cls: Any) -> tuple[type, ...]:
    """A class and its bases; nothing for a function."""
    return cls.__mro__ if inspect.isclass(cls) else ()


def base_named(cls: Any, name: str, library: str) -> Any:
    """The base class (or the class itself) of that name in a library; libraries are not imported for it."""
    for base in bases(cls):
        if base.__name__ == name and package(base) == library:
            return base
    return None


def inherits(cls: Any, name: str, library: str, *methods: str) -> bool:
    """Whether a class is or derives from a class of that name in a library and overrides none of some methods."""
    base = base_named(cls, name, library)
    return base is not None and all(getattr(cls, m) is getattr(base, m) for m in methods)


def reads_label_pictures(cls: Any) -> bool:
    """Whether a class is a dataset of mmseg's, or one of ours that makes the same samples."""
    ours = base_named(cls, 'SegmentationDataset', 'fan_mm')
    return ours is not None or base_named(cls, 'BaseSegDataset', 'mmseg') is not None


@contextmanager
def said_in_one_line(place: str, cfg: dict) -> Iterator[None]:
    """Turn an exception of a third-party class into one line that names its position in the config.

    Raises:
        InputError: whatever was raised inside.
    """
    try:
        yield
    except InputError:
        raise
    except UnicodeDecodeError as error:
        if not (listed := cfg.get('ann_file')):
            raise InputError(
                f'{place}: {type_name(cfg)} says UnicodeDecodeError: {error}'
            ) from error
        listed = os.path.join(cfg.get('data_root') or '', listed)
        raise InputError(f'{place}: {listed} is not text in UTF-8') from error
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        what = ': '.join([type(error).__name__, *lines[:1]])
        raise InputError(f'{place}: {type_name(cfg)} says {what}') from error
