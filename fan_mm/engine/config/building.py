"""What mmengine, torch or a user's own class says while a config's parts are built, in one line.

Whether an exception is due to the config or to a bug of ours is determined by where it was raised: inside
mmengine's registry or Runner, it was caused by the config; anywhere else in our own code, it is a bug.
"""

import contextlib
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from types import FrameType, MappingProxyType
from typing import Any
from urllib.error import URLError

from mmengine.config import Config
from mmengine.runner import BaseLoop, Runner

from fan_mm.config_parts import parts_below, type_name
from fan_mm.engine.config.file import reason
from fan_mm.engine.config.registered import LIBRARIES, missing_library
from fan_mm.errors import InputError, is_of_lost_process, is_of_memory
from fan_mm.torch_files import local_file

# Functions of mmengine's registry that build a part from its config, with their names on both stacks.
_BUILDERS = ('build_from_cfg', 'build_scheduler_from_cfg')
# Prefix that the original mmengine 0.10 adds to an error, once for each enclosing class.
_WRAPPED = re.compile(r'^class `\w+` in [\w/.-]+: ')
# Error of mmengine's registry for unknown names.
_UNKNOWN = re.compile(r'([\w.]+) is not in the \w+::.+ registry')
# Methods of the Runner that do not build from the config of a single part -> the key that they read.
_KEYS = {
    **{'set_randomness': 'randomness', 'setup_env': 'env_cfg', 'scale_lr': 'auto_scale_lr'},
    'load_or_resume': 'load_from',
}


@contextlib.contextmanager
def building(cfg: Config) -> Iterator[None]:
    """Turn an exception raised while parts of a config are built into one line: which part, and why.

    Exceptions raised while a loop of mmengine runs are not changed.

    Raises:
        InputError: the part's place in the config, its type, what was said.
    """
    with _in_one_line(lambda frames: _what(frames, cfg), cfg):
        yield


@contextlib.contextmanager
def used_so(what: str) -> Iterator[None]:
    """Turn an exception that third-party code raises while it is used into one line.

    Args:
        what: cannot be done if it fails, the line's beginning.

    Raises:
        InputError: that, and what was said.
    """
    with _in_one_line(lambda _: f'{what}: '):
        yield


@contextlib.contextmanager
def _in_one_line(
    beginning: Callable[[list[FrameType]], str], cfg: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[None]:
    """Turn what third-party code raises into an `InputError`; ``beginning`` makes its begin of the frames."""
    try:
        yield
    except InputError:
        raise
    except URLError as error:
        raise InputError(_not_fetched(error)) from None
    except Exception as error:
        frames = [frame for frame, _ in traceback.walk_tb(_innermost(error).__traceback__)]
        if _speaks_for_itself(error) or not _of_the_config(frames):
            raise
        raise InputError(f'{beginning(frames)}{_said(error, cfg)}') from error


def _speaks_for_itself(error: Exception) -> bool:
    """Whether an error is not due to the config, and `fan_mm.cli.run` says what it is."""
    of_disk = isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
    return of_disk or is_of_memory(error) or is_of_lost_process(error)


def _not_fetched(error: URLError) -> str:
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if _name(frame) in ('load_state_dict_from_url', 'load_url', 'download_url_to_file'):
            address = str(frame.f_locals['url'])
            return (
                f'cannot download {address}: {error.reason}; without a network, put it at '
                f'{local_file(address)}, or name a file in its place'
            )
    return f'what the config names cannot be fetched: {error.reason}'


def _innermost(error: BaseException) -> BaseException:
    while _WRAPPED.match(str(error)) and error.__context__ is not None:
        error = error.__context__
    return error


def _said(error: Exception, cfg: Mapping[str, Any]) -> str:
    text = reason(_innermost(error))
    text = _WRAPPED.sub('', text)
    text = re.sub(r' in <([\w.]+) object at 0x\w+>', r' (in \1)', text)  # which hook it was
    # Remove mmengine's general advice about names that are not registered.
    text = text.partition(' Please check whether')[0]
    if unknown := _UNKNOWN.search(text):
        library = missing_library(unknown[1], cfg.get('default_scope'))
        text += f' There is no library {library}: install it' if library else ''
    return text


def _of_the_config(frames: list[FrameType]) -> bool:
    if _running(frames):
        return False
    if any(_name(frame) in _BUILDERS for frame in frames):
        return True
    packages = [frame.f_globals.get('__name__', '').partition('.')[0] for frame in frames]
    ours = max((i for i, name in enumerate(packages) if name == 'fan_mm'), default=-1)
    return not set(LIBRARIES).isdisjoint(packages[ours + 1 :])


def _running(frames: list[FrameType]) -> bool:
    """Whether a loop was running, beyond the preparations of its hooks."""
    for frame, called in zip(frames, [*frames[1:], None], strict=True):
        if _name(frame) == 'run' and isinstance(frame.f_locals.get('self'), BaseLoop):
            hook = called.f_locals.get('fn_name') if called and _name(called) == 'call_hook' else ''
            return hook not in ('before_train', 'before_val', 'before_test')
    return False


def _what(frames: list[FrameType], cfg: Config) -> str:
    """'train_dataloader.dataset.pipeline.2 (Resize): ', as far as the frames show it."""
    kind = ''
    for frame in reversed(frames):
        if frame.f_globals.get('__name__', '').partition('.')[0] != 'mmengine':
            continue
        if _name(frame) in _KEYS:
            return f'{_KEYS[_name(frame)]}: '
        if file := _resumed(frame):
            return f"{file} is of another config's training (load_from uses only its weights): "
        if _name(frame) in ('__init__', 'from_cfg', 'call_hook', 'register_hooks', 'dataset_meta'):
            continue
        for part in _parts_in(frame):
            kind = kind or type_name(part)
            places = (_find(part, cfg._cfg_dict, like) for like in (_equal, _is_base_of))
            if place := next(filter(None, places), ''):
                return f'{place} ({kind}): ' if kind else f'{place}: '
    return f'{kind}: ' if kind else ''


def _resumed(frame: FrameType) -> str | None:
    """The checkpoint from which a Runner was resuming."""
    local = frame.f_locals
    resumes = _name(frame) == 'resume' and isinstance(local.get('self'), Runner)
    return local['filename'] if resumes else None


def _parts_in(frame: FrameType) -> Iterator[dict]:
    """The arguments of a function that may be parts of the config; not its own variables."""
    code = frame.f_code
    for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        value = frame.f_locals.get(name)
        if isinstance(value, dict) and value:
            yield value


def _find(part: dict, cfg: dict, like: Callable[[dict, dict], bool]) -> str:
    """Where a part stands in a config, '' if nowhere. Runners work on copies."""
    return next((place for place, node in parts_below('', cfg) if place and like(node, part)), '')


def _is_base_of(node: dict, part: dict) -> bool:
    """Whether a part was made from this one, by additions or without what our checks remove."""
    changed = ('pipeline', 'init_cfg')
    return 'type' in node and all(
        _equal(part.get(key), value) for key, value in node.items() if key not in changed
    )


def _equal(one: object, other: object) -> bool:
    try:
        return bool(one == other)
    except Exception:  # the truth value of arrays and tensors is ambiguous
        return False


def _name(frame: FrameType) -> str:
    return frame.f_code.co_name
