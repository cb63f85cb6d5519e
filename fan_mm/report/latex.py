"""Text and tables for LaTeX; the tables need booktabs and graphicx."""

import re
from collections.abc import Iterable, Sequence

from fan_mm.report.labels import DASH, MINUS, UNLIKE

NEEDS = '% needs \\usepackage{booktabs,graphicx}'
# what follows, up to a brace, no wider than the page (graphicx)
_NO_WIDER = '\\resizebox{\\ifdim\\width>\\textwidth\\textwidth\\else\\width\\fi}{!}{%'
_SPECIAL = {
    **{c: f'\\{c}' for c in '&%$#_{}'},
    **{'<': '\\textless{}', '>': '\\textgreater{}', '|': '\\textbar{}'},
    **{'\\': '\\textbackslash{}', '~': '\\textasciitilde{}', '^': '\\textasciicircum{}'},
    **{'↑': '$\\uparrow$', '↓': '$\\downarrow$', DASH: '--', MINUS: '$-$', UNLIKE: '$^\\dagger$'},
}


def latex(text: str) -> str:
    """Text with LaTeX's special characters escaped, and its quotation marks."""
    text = re.sub(r'"([^"]*)"', r"``\1''", text)
    return re.sub('|'.join(map(re.escape, _SPECIAL)), lambda m: _SPECIAL[m[0]], text)


def bare(text: str) -> str:
    """A number without its interval, for which a paper's table has no room."""
    return text.partition(' [')[0]


def turned(text: str) -> str:
    """Text upwards, for the head of a narrow column."""
    return f'\\rotatebox{{90}}{{{latex(text)}}}'


def latex_row(cells: Iterable[str]) -> str:
    """A row of a table, from cells in LaTeX."""
    return ' & '.join(cells).strip() + ' \\\\'


def group_heads(groups: Sequence[tuple[str, int]], before: int) -> list[str]:
    """Two lines above a table's head that name groups of its columns.

    Args:
        groups: text, and number of columns.
        before: number of the columns in front of them.
    """
    spans, rules, first = [], [], before + 1
    for text, count in groups:
        spans.append(f'\\multicolumn{{{count}}}{{c}}{{{latex(text)}}}')
        rules.append(f'\\cmidrule(lr){{{first}-{first + count - 1}}}')
        first += count
    return [latex_row([''] * before + spans), ''.join(rules)]


def latex_table(width: int, lines: Sequence[str], caption: str) -> str:
    """A ``table*`` over both columns of a paper, made smaller where it is wider than they are.

    Args:
        width: number of its columns, the first of them text.
        lines: its rows and rules, ready.
        caption: LaTeX.
    """
    return '\n'.join(
        [
            '\\begin{table*}',
            '\\centering\\small\\setlength{\\tabcolsep}{3pt}',
            _NO_WIDER,
            f'\\begin{{tabular}}{{l{"r" * (width - 1)}}}',
            '\\toprule',
            *lines,
            '\\bottomrule',
            '\\end{tabular}}',
            f'\\caption{{{caption.strip()}}}',
            '\\end{table*}',
        ]
    )
