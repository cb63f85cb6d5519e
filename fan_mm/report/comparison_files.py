"""A comparison as Markdown, LaTeX and HTML, with its figures."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from fan_mm.fileio import remove_temporaries, write_whole
from fan_mm.report import figures
from fan_mm.report.comparison import build_comparison
from fan_mm.report.comparison_page import comparison_page
from fan_mm.report.comparison_tables import comparison_latex, comparison_markdown
from fan_mm.report.robustness_table import RobustnessTable
from fan_mm.report.scatter import accuracy_scatter
from fan_mm.report.shift_table import ShiftTable
from fan_mm.report.tables import markdown_table


def write_comparison(
    paths: Sequence[str | os.PathLike], out_dir: str | os.PathLike, published: bool = False
) -> Path:
    """Compare results and write the comparison.

    Files in ``out_dir``: ``comparison.html`` (self-contained), ``comparison.md``,
    ``comparison.tex`` (needs booktabs and graphicx) and ``figures/`` with ``scatter`` and, for two
    or more results, ``groups`` as PNG and PDF.

    Returns:
        Path of ``comparison.html``.

    Raises:
        InputError: see `build_comparison`.
    """
    comparison = build_comparison(paths, published)
    drawn = {'scatter': accuracy_scatter(comparison)}
    if len(comparison.tables) > 1 and comparison.groups:
        drawn['groups'] = figures.group_bars(comparison.tables)
    texts = comparison_markdown(comparison, list(drawn)), comparison_latex(comparison)
    return write_files(
        Path(out_dir),
        drawn,
        comparison.tables,
        *texts,
        lambda svgs: comparison_page(comparison, svgs),
    )


def write_files(
    out_dir: Path,
    drawn: Mapping[str, Figure],
    tables: Sequence[RobustnessTable | ShiftTable],
    markdown: str,
    latex: str,
    page: Callable[[dict[str, str]], str],
) -> Path:
    """Write the files of any comparison; returns the path of ``comparison.html``.

    Args:
        out_dir: folder for them, made if it is not there.
        drawn: the figures by their names.
        tables: the results with the numbers; their provenance ends the Markdown and, as comments, the LaTeX.
        markdown: the rest of ``comparison.md``.
        latex: the rest of ``comparison.tex``.
        page: the page, of the figures as SVG.
    """
    remove_temporaries(out_dir, out_dir / 'figures')
    protocols = '; '.join(dict.fromkeys(table.protocol for table in tables))
    for name, figure in drawn.items():
        figures.save(figure, out_dir / 'figures' / name, protocols)
    write_whole(out_dir / 'comparison.md', markdown + _provenance_markdown(tables))
    write_whole(out_dir / 'comparison.tex', latex + _provenance_latex(tables))
    path = out_dir / 'comparison.html'
    write_whole(path, page({n: figures.inline_svg(figure, n, n) for n, figure in drawn.items()}))
    return path


def _provenance_markdown(tables: Iterable[RobustnessTable | ShiftTable]) -> str:
    parts = ['\n## Provenance']
    for table in tables:
        rows = [[name, f'`{value}`'] for name, value in table.provenance().items()]
        parts += [f'### {table.name}', markdown_table(['what', 'value'], rows)]
    return '\n\n'.join(parts) + '\n'


def _provenance_latex(tables: Iterable[RobustnessTable | ShiftTable]) -> str:
    return ''.join(
        f'% {" ".join(f"{table.name}: {name}: {value}".split())}\n'
        for table in tables
        for name, value in table.provenance().items()
    )
