"""Models downwards and scores across: the tables of comparisons, in all of their forms."""

from collections.abc import Sequence
from dataclasses import dataclass

from fan_mm.report import page
from fan_mm.report.latex import latex
from fan_mm.report.tables import markdown_table


@dataclass(frozen=True)
class Score:
    """One cell.

    Attributes:
        text: the number with its marks.
        below: its rank or interval in brackets, or ''.
        best: whether it is printed in bold.
        share: of its heat colour, see `page.cell`; None without one.
    """

    text: str
    below: str = ''
    best: bool = False
    share: float | None = None


@dataclass(frozen=True)
class Line:
    """A model's name, scores, and whether they are published."""

    name: str
    scores: list[Score]
    published: bool


def score_page(caption: str, head: Sequence[str], lines: Sequence[Line]) -> str:
    """As HTML."""
    first, *others = head
    heads = [page.head_cell(first), *map(page.turned_head_cell, others)]
    rows = []
    for line in lines:
        cells = page.head_cell(line.name, 'row')
        for s in line.scores:
            cells += page.cell(s.text, 'mean' if s.best else '', share=s.share, below=s.below)
        rows.append(page.row(cells, 'published' if line.published else ''))
    return page.table(caption, heads, [rows], 'heat classes')


def score_markdown(head: Sequence[str], lines: Sequence[Line]) -> str:
    """As Markdown."""
    rows = []
    for line in lines:
        texts = [(f'{s.text} {s.below}'.rstrip(), s.best) for s in line.scores]
        rows.append([line.name, *(f'**{text}**' if best else text for text, best in texts)])
    return markdown_table(head, rows)


def score_latex(scores: Sequence[Score]) -> list[str]:
    """Cells in LaTeX, without what stands below, for which a paper's table has no room."""
    return [f'\\textbf{{{latex(s.text)}}}' if s.best else latex(s.text) for s in scores]
