"""Rows of results, in a JSON-lines file and on a Markdown page."""

import contextlib
import json
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

Row = dict[str, object]


class Results:
    """Appends a section's rows to a file, to which other sections may append at the same time.

    Args:
        path: the JSON-lines file.
        section: name of the section.
    """

    def __init__(self, path: Path, section: str) -> None:
        self.path = path
        self.section = section

    @contextlib.contextmanager
    def case(self, name: str) -> Iterator[Row]:
        """One row, filled in within, written at the end of the block.

        ``row['holds']`` is whether the claim about the case is true, if there is one. An exception ends the
        case, not the section (see `guard`).
        """
        row: Row = dict(section=self.section, case=name)
        with self.guard(name, row):
            yield row
            self.add(row)

    @contextlib.contextmanager
    def guard(self, name: str, row: Row | None = None) -> Iterator[None]:
        """Make an exception a row with an ``error``; its traceback is printed."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            row = row or dict(section=self.section, case=name)
            line = f'{type(error).__name__}: {error}'.splitlines()[0][:200]
            self.add(row | dict(holds=False, error=line))

    def add(self, row: Row) -> None:
        """Append a row in one piece."""
        with self.path.open('a') as file:
            file.write(json.dumps(row, default=float) + '\n')


def largest(errors: Iterable[float]) -> float:
    """The largest error; NaN if any is NaN, unlike Python's `max`."""
    return float(np.max(list(errors)))


def read(path: Path) -> list[Row]:
    """All rows written so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def markdown(title: str, rows: list[Row]) -> str:
    """A page: what does not hold, then a table of each section's rows."""
    failed = [f'- {row["section"]}: {row["case"]}' for row in rows if row.get('holds') is False]
    claims = sum('holds' in row for row in rows)
    lines = [f'# {title}', '', f'{claims - len(failed)} of {claims} claims hold.', '']
    if failed:
        lines += ['Not:', '', *failed, '']
    for section in dict.fromkeys(row['section'] for row in rows):
        part = [row for row in rows if row['section'] == section]
        columns = list(dict.fromkeys(key for row in part for key in row))
        columns.remove('section')
        lines += [f'## {section}', '', _line(columns), _line(['---'] * len(columns))]
        lines += [_line([_text(row.get(column, '')) for column in columns]) for row in part]
        lines.append('')
    return '\n'.join(lines)


def _line(cells: list[str]) -> str:
    return f'| {" | ".join(cells)} |'


def _text(value: object) -> str:
    if isinstance(value, bool):
        return 'yes' if value else '**no**'
    if isinstance(value, dict):
        return ', '.join(f'{key} {_text(item)}' for key, item in value.items())
    if isinstance(value, float):
        if value == 0 or 0.01 <= abs(value) < 100:
            return f'{value:.3g}'
        return f'{value:.0f}' if abs(value) >= 100 else f'{value:.1e}'
    return str(value).replace('|', '\\|')
