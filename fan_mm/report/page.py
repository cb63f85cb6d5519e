"""Building blocks of the report and comparison pages: one shell, headings, tables, images.

A page is one file: its style is inline, figures are inline SVG, photographs are data URIs, so it opens
anywhere and fetches nothing. What needs a script is hidden until that runs.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path

import cv2

from fan_mm.images import no_wider, read_image
from fan_mm.report.colours import css_variables, heat, ink_on

PHOTO_WIDTH = 800  # pixels: twice a gallery column on a laptop
SCRIPTED = ('explorer',)  # sections that a script shows, with their links in the contents


def page(
    title: str,
    heading: str,
    lead: str,
    above: Iterable[str],
    sections: Mapping[str, tuple[str, Sequence[str]]],
) -> str:
    """A whole HTML document.

    Args:
        title: of the window.
        heading: of the page.
        lead: a line below it.
        above: what stands between the contents and the sections.
        sections: key -> title and parts; those without any part that is not empty are left out.
    """
    sections = {key: (name, parts) for key, (name, parts) in sections.items() if any(parts)}
    css = resources.files('fan_mm.report').joinpath('style.css').read_text('utf-8')
    body = [
        f'<header>\n<h1>{escape(heading)}</h1>\n<p class="lead">{escape(lead)}</p>',
        _contents({key: name for key, (name, _) in sections.items()}) + '</header>\n<main>',
        *above,
        *(_section(key, name, *parts) for key, (name, parts) in sections.items()),
        '</main>',
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # The icon that a browser would otherwise ask a server for.
        '<link rel="icon" href="data:,">\n'
        f'<title>{escape(title)}</title>\n<style>\n{css_variables()}{css}</style>\n</head>\n<body>\n'
        + '\n'.join(body)
        + '\n</body>\n</html>\n'
    )


def alarm(heading: str, text: str, items: Sequence[str]) -> str:
    """A box above the numbers that says what is wrong with them; nothing without items."""
    if not items:
        return ''
    return (
        f'<aside class="alarm" role="note"><h2>{heading}</h2><p>{text}</p>'
        f'<ul>{"".join(f"<li>{item}</li>" for item in items)}</ul></aside>'
    )


def notice(lines: Iterable[str]) -> str:
    """A list (escaped) that stands out; nothing without lines."""
    items = ''.join(f'<li>{escape(line)}</li>' for line in lines)
    return f'<aside class="notice" role="note"><ul>{items}</ul></aside>' if items else ''


def paragraph(text: str, kind: str = '') -> str:
    """Text (escaped) in a paragraph."""
    return f'<p{_class(kind)}>{escape(text)}</p>'


def head_cell(
    text: str, scope: str = 'col', kind: str = '', rows: int = 1, columns: int = 1
) -> str:
    """A ``<th>`` over some rows and columns; ``scope`` is 'col', 'row' or 'rowgroup'."""
    span = f' rowspan="{rows}"' if rows > 1 else ''
    span += f' colspan="{columns}"' if columns > 1 else ''
    return f'<th scope="{scope}"{_class(kind)}{span}>{escape(text)}</th>'


def turned_head_cell(text: str) -> str:
    """A ``<th>`` of a narrow column, its text turned upright."""
    return f'<th scope="col" class="turned"><span>{escape(text)}</span></th>'


def row(cells: str, kind: str = '') -> str:
    """A ``<tr>`` from ready cells."""
    return f'<tr{_class(kind)}>{cells}</tr>'


def cell(
    text: str, kind: str = '', *, share: float | None = None, title: str = '', below: str = ''
) -> str:
    """A ``<td>``; ``share``, of 0 to 1, colours it, ``title`` explains it on hover.

    ``below`` is small print under the text.
    """
    style = (
        f' style="background-color:{heat(share)};color:{ink_on(heat(share))}"'
        if share is not None
        else ''
    )
    hint = f' title="{escape(title)}"' if title else ''
    small = f'<small>{escape(below)}</small>' if below else ''
    return f'<td{_class(kind)}{style}{hint}>{escape(text)}{small}</td>'


def table(
    caption: str, head: Sequence[str], bodies: Sequence[Sequence[str]], kind: str = ''
) -> str:
    """A table from ready cells; ``bodies`` are groups of rows, a row is its cells in one string."""
    groups = ''.join(
        '<tbody>'
        + ''.join(line if line.startswith('<tr') else row(line) for line in rows)
        + '</tbody>\n'
        for rows in bodies
    )
    return (
        f'<div class="scroll"><table{_class(kind)}><caption>{escape(caption)}</caption>\n'
        f'<thead><tr>{"".join(head)}</tr></thead>\n{groups}</table></div>'
    )


def facts(caption: str, heads: tuple[str, str], pairs: Mapping[str, str]) -> str:
    """A two-column table of names and texts; nothing without them."""
    if not pairs:
        return ''
    rows = [head_cell(k, 'row') + f'<td>{escape(v)}</td>' for k, v in pairs.items()]
    return table(caption, [head_cell(h) for h in heads], [rows], 'facts lines')


def figure(content: str, caption: str) -> str:
    """A figure with its caption."""
    return f'<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>'


def text_table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], turned: bool = False
) -> str:
    """A table of texts, the first of each row as its heading; nothing without rows.

    Args:
        caption: below it.
        head: of the columns.
        rows: as many texts each.
        turned: whether all heads but the first stand upright.
    """
    if not (rows := list(rows)):
        return ''
    first, *others = head
    heads = [head_cell(first), *map(turned_head_cell if turned else head_cell, others)]
    lines = [head_cell(name, 'row') + ''.join(map(cell, texts)) for name, *texts in rows]
    return table(caption, heads, [lines], 'lines')


def ramp(text: str, end: str) -> str:
    """The legend of the heat colours, from 'nothing lost' to ``end``."""
    stops = ', '.join(heat(i / 8) for i in range(9))
    return (
        f'<p class="ramp"><span>{escape(text)}</span>'
        f'<i style="background:linear-gradient(90deg, {stops})"></i><span>{escape(end)}</span></p>'
    )


def photo(path: Path, description: str) -> str | None:
    """An ``<img>`` that carries the image at ``path``; None if it cannot be read.

    Images wider than `PHOTO_WIDTH` are scaled down. A click, or the keyboard's focus, enlarges.
    """
    image = read_image(path)
    if image is None:
        return None
    shown = no_wider(image, PHOTO_WIDTH)
    height, width = shown.shape[:2]
    if shown is image and path.suffix.lower() in ('.jpg', '.jpeg'):
        data = path.read_bytes()
    else:
        options = [cv2.IMWRITE_JPEG_QUALITY, 90]
        data = cv2.imencode('.jpg', shown[..., ::-1], options)[1].tobytes()
    uri = base64.b64encode(data).decode()
    return (
        f'<img tabindex="0" width="{width}" height="{height}" alt="{escape(description)}" '
        f'src="data:image/jpeg;base64,{uri}">'
    )


def _section(key: str, title: str, *parts: str) -> str:
    """A headed section that the contents link to."""
    return (
        f'<section id="{key}"{_hidden(key)}>\n<h2>{escape(title)}</h2>\n'
        + '\n'.join(parts)
        + '\n</section>'
    )


def _contents(sections: Mapping[str, str]) -> str:
    """Links to sections, key -> title."""
    links = ''.join(
        f'<li{_hidden(key)}><a href="#{key}">{escape(t)}</a></li>' for key, t in sections.items()
    )
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ''


def _hidden(key: str) -> str:
    return ' hidden' if key in SCRIPTED else ''
