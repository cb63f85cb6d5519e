"""A comparison as Markdown, LaTeX and HTML, with its figures."""

import os
from collections.abc import Sequence
from pathlib import Path

from fan_mm.fileio import remove_temporaries, write_whole
from fan_mm.report import figures
from fan_mm.report.comparison import build_comparison
from fan_mm.report.comparison_page import comparison_page
from fan_mm.report.comparison_tables import comparison_latex, comparison_markdown
from fan_mm.report.scatter import accuracy_scatter


def write_comparison(
    paths: Sequence[str | os.PathLike], out_dir: str | os.PathLike, published: bool = False
) -> Path:
    """Compare results and write the comparison.

    Files in ``out_dir``: ``comparison.html`` (self-contained), ``comparison.md``,
    ``comparison.tex`` (needs booktabs and graphicx) and ``figures/`` with ``scatter`` and, for two
    or more results, ``groups`` as PNG and PDF.

    Args:
        paths: results.json files or their folders; differences are taken to the first.
        out_dir: folder for the files, made if it is not there.
        published: see `build_comparison`.

    Returns:
        Path of ``comparison.html``.

    Raises:
        InputError: see `build_comparison`.
    """
    comparison = build_comparison(paths, published)
    out_dir = Path(out_dir)
    remove_temporaries(out_dir, out_dir / 'figures')
    drawn = {'scatter': accuracy_scatter(comparison)}
    if len(comparison.tables) > 1 and comparison.groups:
        drawn['groups'] = figures.group_bars(comparison.tables)
    protocols = dict.fromkeys(table.protocol for table in comparison.tables)
    for name, figure in drawn.items():
        figures.save(figure, out_dir / 'figures' / name, '; '.join(protocols))
    write_whole(out_dir / 'comparison.md', comparison_markdown(comparison, list(drawn)))
    write_whole(out_dir / 'comparison.tex', comparison_latex(comparison))
    svgs = {name: figures.inline_svg(figure, name, name) for name, figure in drawn.items()}
    path = out_dir / 'comparison.html'
    write_whole(path, comparison_page(comparison, svgs))
    return path
