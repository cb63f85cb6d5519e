"""Letters of every script: users call classes and models as they like.

DejaVu Sans, which comes with matplotlib, draws what it can. For what it lacks (汽车) an installed
font is searched for; where none has it, images show the letters' code points (U+6C7D), or what the
caller puts instead of the name, and the log says so once.
"""

import contextlib
import functools
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from PIL import ImageFont

from fan_mm.logs import warn

_DEJAVU = str(Path(matplotlib.get_data_path(), 'fonts/ttf/DejaVuSans.ttf'))
_NO_LETTERS = {'Zs', 'Zl', 'Zp', 'Cc', 'Cf', 'Mn'}  # spaces, controls, marks that change a letter

_said: set[str] = set()  # the first text that could not be drawn


class TextFont(ImageFont.FreeTypeFont):
    """A Pillow font that has the letters of every text: DejaVu Sans, or another for the whole text."""

    def __init__(self, size: int) -> None:
        super().__init__(_DEJAVU, size)

    def getmask2(self, text: str | bytes, *args: Any, **options: Any) -> Any:
        font, text = self._for(text)
        return ImageFont.FreeTypeFont.getmask2(font, text, *args, **options)

    def getbbox(self, text: str | bytes | bytearray, *args: Any, **options: Any) -> Any:
        font, text = self._for(text)
        return ImageFont.FreeTypeFont.getbbox(font, text, *args, **options)

    def getlength(self, text: str | bytes, *args: Any, **options: Any) -> Any:
        font, text = self._for(text)
        return ImageFont.FreeTypeFont.getlength(font, text, *args, **options)

    def _for(self, text: Any) -> tuple[ImageFont.FreeTypeFont, Any]:
        if not isinstance(text, str) or text.isascii():
            return self, text
        file = _file_with(_letters(text))
        if file is None:
            return self, spelled(text)
        return (self, text) if file == _DEJAVU else (_truetype(file, self.size), text)


def drawable(names: Sequence[str]) -> list[str]:
    """Names of classes, and 'class 3' instead of those that no installed font can draw."""
    names = [str(name) for name in names]
    return [
        name if name.isascii() or _file_with(_letters(name)) else _instead(name, f'class {i}')
        for i, name in enumerate(names)
    ]


def spelled(text: str) -> str:
    """A text with the code points of the letters that DejaVu Sans lacks: 'U+6C7D U+8F66'."""
    lacking = {c for c in _letters(text) if not _has(_DEJAVU, c)}
    words = [f' U+{ord(c):04X} ' if c in lacking else c for c in text]
    return _instead(text, ' '.join(''.join(words).split())) if lacking else text


@contextlib.contextmanager
def drawable_figure(figure: Figure) -> Iterator[None]:
    """Use fonts that have the letters of a matplotlib figure within the block."""
    texts = [t for t in figure.findobj(Text) if not t.get_text().isascii()]
    before = [(text, text.get_text(), text.get_fontfamily()) for text in texts]
    try:
        for text, words, _ in before:
            file = _file_with(_letters(words))
            if file is None:
                text.set_text(spelled(words))
            elif file != _DEJAVU:
                font_manager.fontManager.addfont(file)
                name = font_manager.FontProperties(fname=file).get_name()
                text.set_fontfamily(['DejaVu Sans', name])
        yield
    finally:
        for text, words, family in before:
            text.set_text(words)
            text.set_fontfamily(family)


@contextlib.contextmanager
def letters_of_the_page() -> Iterator[None]:
    """Without matplotlib's warnings of letters that its font lacks: a page's reader has others."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'Glyph .* missing from')
        yield


def _letters(text: str) -> frozenset[str]:
    return frozenset(c for c in text if unicodedata.category(c) not in _NO_LETTERS)


@functools.cache
def _file_with(letters: frozenset[str]) -> str | None:
    """The file of a font that has all of some letters: DejaVu Sans if it does; None if none has."""
    return next((f for f in (_DEJAVU, *_installed()) if all(_has(f, c) for c in letters)), None)


@functools.cache
def _installed() -> tuple[str, ...]:
    return tuple(sorted(font_manager.findSystemFonts()))


@functools.cache
def _truetype(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


@functools.lru_cache(maxsize=4096)
def _has(file: str, letter: str) -> bool:
    face = _face(file)
    return face is not None and bool(face.get_char_index(ord(letter)))


@functools.lru_cache(maxsize=64)
def _face(file: str) -> FT2Font | None:
    try:
        return FT2Font(file)
    except (OSError, RuntimeError):  # damaged, or of a kind that matplotlib does not take
        return None


def _instead(text: str, shown: str) -> str:
    if not _said:
        _said.add(text)
        warn(
            f'no installed font covers {text!r}: images show {shown!r}; install one, '
            'such as Noto Sans of that script'
        )
    return shown
