"""Reading a config file; whatever is wrong in it becomes one line: where, and what."""

import difflib
import functools
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from typing import Any, cast

from mmengine.config import Config
from mmengine.config.lazy import LazyObject
from mmengine.config.utils import MODULE2PACKAGE

from fan_mm import packaged
from fan_mm.engine.config.old import refuse_old_config
from fan_mm.engine.config.values import KNOWN_KEYS, check_values
from fan_mm.errors import InputError

_LONGEST = 400  # characters of a third-party message
_SUFFIXES = ('.py', '.json', '.yaml', '.yml')  # what mmengine reads


def read_config(path: str, options: dict | None = None) -> Config:
    """Read a config and change it.

    Modules of ``custom_imports`` are also searched in the current folder and in that of the config.

    Args:
        path: path of the file (``~`` is the home folder), or the name of a shipped config.
        options: dotted key -> new value.

    Raises:
        InputError: the file does not exist or is not a config, a base file or an imported module fails, or
            an option or a value is invalid.
    """
    file = Path(path).expanduser()
    if not file.exists():
        named = packaged.config_named(path)
        if named is None:
            beside = [other.name for other in file.parent.glob('*.py')]
            near = difflib.get_close_matches(file.name, beside, 1, 0.8)
            hint = f'; did you mean {file.with_name(near[0])}?' if near else ''
            raise InputError(f'no such config: {path}{hint}')
        file = named
    if file.suffix not in _SUFFIXES:
        raise InputError(
            f'{path} is not a config (.py): the order is CONFIG CHECKPOINT, see --help'
        )
    if not file.is_file():
        raise InputError(f'{path} is a folder, not a config')
    _find_modules(file)
    try:
        cfg = Config.fromfile(str(file))
    except (Exception, SystemExit) as error:  # a config is a program and may raise anything
        raise InputError(_what_failed(error, path)) from error
    try:
        refuse_old_config(cfg)
        if not isinstance(cfg.get('model'), dict | list):
            raise InputError(f'{path} is not a config of a model: it has no model=dict(...)')
        if options:
            _merge(cfg, options)
        _buildable(cfg._cfg_dict, path)
        check_values(cfg)
    except ImportError as error:  # lazy configs look up their classes when they are read
        raise InputError(reason(error)) from error
    return cfg


def _find_modules(config: Path) -> None:
    """Let Python look for modules in the current folder and beside the config, after all others."""
    for folder in (os.getcwd(), str(config.resolve().parent)):
        if folder not in sys.path:
            sys.path.append(folder)


class PathText(str):
    """A pathlib path as a string, which libraries and dumped configs need, that still has the path's methods."""

    def __truediv__(self, other: str | os.PathLike) -> Path:
        return Path(self) / other

    def __getattr__(self, name: str) -> Any:  # attributes that strings do not have
        return getattr(Path(self), name)

    def __deepcopy__(self, memo: dict) -> 'PathText':
        return self

    def __reduce__(self) -> tuple:  # pickled as str: checkpoints must not contain our classes
        return str, (str(self),)


def _buildable(node: Any, path: str) -> Any:
    """A part of a config with nothing in it that mmengine and the task libraries do not build from.

    Converts the dotted names that a Runner writes for the classes of a lazy config, which mmengine resolves but the
    task libraries' own builders do not ('mmcv.ops.RoIAlign' in mmdet), and pathlib paths. A string that does not
    name a callable is not changed.
    """
    if isinstance(node, os.PathLike):
        return PathText(os.fspath(node))
    if isinstance(node, list):
        node[:] = [_buildable(item, path) for item in node]
    elif type(node) is tuple:
        return tuple(_buildable(item, path) for item in node)
    elif isinstance(node, dict):
        # mmengine's own `items` would build lazy objects
        for key, value in list(dict.items(node)):
            module, _, name = value.rpartition('.') if isinstance(value, str) else ('', '', '')
            if key == 'type' and '.' in module and _builds(module, name):
                node[key] = LazyObject(module, name, path)
            else:
                node[key] = _buildable(value, path)
    return node


def _builds(module: str, name: str) -> bool:
    """Whether a class or function has this name in this module."""
    try:
        return callable(getattr(importlib.import_module(module), name, None))
    except Exception:  # modules may raise anything; reported when the name is used
        return False


def _merge(cfg: Config, options: dict) -> None:
    for key in options:
        first = key.split('.')[0]
        near = difflib.get_close_matches(first, [*cfg.keys(), *KNOWN_KEYS], 1, 0.8)
        if first not in cfg and first not in KNOWN_KEYS and near:
            raise InputError(f'--cfg-options {key}: did you mean {near[0]}{key[len(first) :]}?')
        try:
            cfg.merge_from_dict(dict([_whole_list(cfg, *_into_none(cfg, key, options[key]))]))
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise InputError(f'--cfg-options {key}: {_why_unmerged(cfg, key, error)}') from error


def _into_none(cfg: Config, key: str, value: object) -> tuple[str, object]:
    """A key below a None, such as ``init_cfg=None``, as a dict in its place: mmengine refuses to set it."""
    node, parts = cfg._cfg_dict, key.split('.')
    for depth, part in enumerate(parts[:-1], 1):
        try:
            node = _inside(node, part)
        except (LookupError, TypeError, ValueError):
            return key, value
        if node is None:
            for below in reversed(parts[depth:]):
                value = {below: value}
            return '.'.join(parts[:depth]), {'_delete_': True, **cast(dict, value)}
    return key, value


def _whole_list(cfg: Config, key: str, value: object) -> tuple[str, object]:
    """A new element of a list or tuple as the whole of it: mmengine sets keys of dicts in lists alone."""
    above, _, last = key.rpartition('.')
    try:
        node = functools.reduce(_inside, above.split('.'), cfg._cfg_dict)
    except (LookupError, TypeError, ValueError):
        return key, value
    if not isinstance(node, list | tuple) or not last.isdecimal() or int(last) >= len(node):
        return key, value
    if isinstance(node[int(last)], dict):
        return key, value
    new = [*node[: int(last)], value, *node[int(last) + 1 :]]
    return _whole_list(cfg, above, type(node)(new))


def _inside(node: Any, part: str) -> Any:
    """What a part of a config has under one part of a dotted key."""
    return node[int(part) if isinstance(node, list | tuple) else part]


def _why_unmerged(cfg: Config, key: str, error: Exception) -> str:
    """Why a key cannot be set; mmengine prints whole parts of the config here."""
    node, place = cfg._cfg_dict, []
    for part in key.split('.')[:-1]:
        place.append(part)
        try:
            node = _inside(node, part)
        except (LookupError, ValueError):
            return f'there is no {".".join(place)}'
        if not isinstance(node, dict | list):
            return f'{".".join(place)} is {node!r}, which has no {key.split(".")[len(place)]}'
    if isinstance(node, list):
        return (
            f'{".".join(place)} is a list of {len(node)}; {key.split(".")[-1]} is not a valid index'
        )
    return reason(error)


def reason(error: BaseException) -> str:
    """What an exception says, in one line, with its type where the text alone says little."""
    text = ' '.join(str(error).split())
    kind = type(error).__name__
    if isinstance(error, KeyError):
        text = text.strip('\'"')
    if isinstance(error, AssertionError) and not text:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = f'not so: {(frame.line or "").removeprefix("assert ").rstrip(", (")}'
    if len(text) > _LONGEST:  # mmengine prints whole parts of the config
        text = f'{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}'
    plain = isinstance(error, ValueError | RuntimeError | AssertionError | KeyError)
    return text if plain and len(text) > 20 else f'{kind}: {text}'


def _what_failed(error: BaseException, path: str) -> str:
    """Where in which file reading failed, and why."""
    files, line = _place(error)
    file = files[-1] if files else path
    if isinstance(error, SyntaxError) and error.msg.endswith('U+FEFF'):
        return f'{file} begins with a byte order mark: save it as plain UTF-8'
    if isinstance(error, RecursionError):
        return (
            f'{path}: infinite recursion: a _base_ leads back to {file}, or its code calls itself'
        )
    if isinstance(error, SyntaxError):
        return f'{file}, line {error.lineno}: {error.msg}'
    if isinstance(error, FileNotFoundError) and not Path(file).is_file():
        above = files[-2] if len(files) > 1 else path
        return f'{above}: {file}, named in its _base_, does not exist'
    cause = _first_cause(error)
    if isinstance(error, ImportError) and str(error).startswith('Failed to import custom modules'):
        return f'{path}: custom_imports: {_why_not_imported(cause)}'
    if isinstance(error, ModuleNotFoundError) and (there := _under_another_name(error)):
        return f'{file}: {there}'
    if _names_ours(error):
        return (
            f"{file}: mmengine has no 'fan_mm::' in a _base_: write the path instead, such as "
            f'{packaged.folder("configs")}{os.sep}fan_hybrid_s_cityscapes.py'
        )
    if isinstance(error, UnicodeDecodeError):
        return f'{file} is not text in UTF-8'
    if isinstance(error, SystemExit):
        return f'{file}{line}: it exits Python (SystemExit), but a config must only set variables'
    return f'{file}{line}: {reason(error)}'


def _under_another_name(error: ModuleNotFoundError) -> str | None:
    """What to write for ``library::config`` where mmengine looks for another distribution of the library."""
    package = str(error).partition(' is not installed')[0]
    library = next((m for m, p in MODULE2PACKAGE.items() if p == package), None)
    spec = importlib.util.find_spec(library) if library else None
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / '.mim' / 'configs'
    return (
        f'this mmengine looks for {package}, but {library} is installed under another name: instead of '
        f"'{library}::', write {folder}{os.sep}"
    )


def _names_ours(error: BaseException) -> bool:
    """Whether mmengine was asked for a ``fan_mm::config``; it knows a fixed list of libraries."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    asked = frame.f_locals if frame.f_code.co_name == '_get_package_and_cfg_path' else {}
    return 'fan_mm' in (asked.get('package'), str(asked.get('cfg_path')).partition('::')[0])


def _place(error: BaseException) -> tuple[list[str], str]:
    """The configs that were being read, from the first to its base, and the line in the last one."""
    files: list[str] = []
    line = ''
    for frame, number in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        if code.co_filename.endswith(os.path.join('config', 'config.py')):
            name = frame.f_locals.get('filename')
            # These work on a temporary copy, whose lines mean nothing to the user.
            if code.co_name in ('fromfile', '_file2dict', '_is_lazy_import', '_parse_lazy_import'):
                if isinstance(name, str) and _same(files[-1:], name):
                    files[-1:] = [name]
                elif isinstance(name, str):
                    files.append(name)
        elif code.co_name == '<module>' and files and 'site-packages' not in code.co_filename:
            line = f', line {number}'
            if Path(code.co_filename).is_file() and not _same(files[-1:], code.co_filename):
                files.append(code.co_filename)  # a module that the config imports
    return [os.path.relpath(f) if Path(f).is_relative_to(Path.cwd()) else f for f in files], line


def _same(last: list[str], name: str) -> bool:
    """Whether the last of the files that are being read is the one of a name."""
    return [_absolute(file) for file in last] == [_absolute(name)]


def _absolute(file: str) -> str:
    return os.path.abspath(os.path.expanduser(file))


def _first_cause(error: BaseException) -> BaseException:
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return error


def _why_not_imported(cause: BaseException) -> str:
    """Which module is missing, or where the user's own one fails."""
    if isinstance(cause, ModuleNotFoundError):
        return (
            f'there is no module {cause.name}: install what provides it, or put it into the current '
            'folder, next to the config or on PYTHONPATH'
        )
    last = traceback.extract_tb(cause.__traceback__)[-1]
    return f'{last.filename}, line {last.lineno}: {reason(cause)}'
