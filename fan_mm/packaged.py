"""Configs and tools that travel with the package: beside it in a checkout, in ``.mim`` where it is installed."""

import difflib
from pathlib import Path

from fan_mm.errors import InputError

_PACKAGE = Path(__file__).resolve().parent
_PLACES = (_PACKAGE / '.mim', _PACKAGE.parent)  # setup.py writes the first


def folders(name: str) -> tuple[Path, ...]:
    """Where 'configs' or 'tools' may lie, installed and in a checkout."""
    return tuple(place / name for place in _PLACES)


def folder(name: str) -> Path:
    """Where 'configs' or 'tools' lie.

    Raises:
        InputError: the installation lacks them.
    """
    found = [path for path in folders(name) if path.is_dir()]
    if not found:
        raise InputError(f'this installation of fan_mm has no {name}: install it again')
    return found[0].resolve()  # of an editable install, the checkout's


def config_named(name: str) -> Path | None:
    """The shipped config of a name, such as 'fan_hybrid_s_cityscapes', with or without ``.py``.

    Returns:
        Its path; None if the text is no bare name, but a path.

    Raises:
        InputError: there is none of this name.
    """
    path = Path(name)
    if path.name != name or path.suffix not in ('', '.py'):
        return None
    there = {file.stem: file for file in folder('configs').glob('*.py')}
    if path.stem in there:
        return there[path.stem]
    near = difflib.get_close_matches(path.stem, there, 1)
    hint = f'did you mean {near[0]}?' if near else f'the shipped ones are in {folder("configs")}'
    raise InputError(f'no such config: {name}; {hint}')
