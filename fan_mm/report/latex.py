"""Text and tables for LaTeX; the tables need booktabs and graphicx."""

import re
from collections.abc import Sequence

from fan_mm.report.labels import DASH, MINUS, UNLIKE

NEEDS = '% needs \\usepackage{booktabs,graphicx}'
_SPECIAL = {
    **{c: f'\\{c}' for c in '&%$#_{}'},
    **{'\\': '\\textbackslash{}', '~': '\\textasciitilde{}', '^': '\\textasciicircum{}'},
    **{'↑': '$\\uparrow$', '↓': '$\\downarrow$', DASH: '--', MINUS: '$-$', UNLIKE: '$^\\dagger$'},
}


def latex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return re.sub('|'.join(map(re.escape, _SPECIAL)), lambda m: _SPECIAL[m[0]], text)


def turned(text: str) -> str:
    """Text upwards, for the head of a narrow column."""
    return f'\\rotatebox{{90}}{{{latex(text)}}}'


def latex_table(width: int, lines: Sequence[str], caption: str) -> str:
    """A ``table*`` over both columns of a paper.

    Args:
        width: number of its columns, the first of them text.
        lines: its rows and rules, ready.
        caption: LaTeX.
    """
    return '\n'.join(
        [
            '\\begin{table*}',
            '\\centering\\small\\setlength{\\tabcolsep}{3pt}',
            f'\\begin{{tabular}}{{l{"r" * (width - 1)}}}',
            '\\toprule',
            *lines,
            '\\bottomrule',
            '\\end{tabular}',
            f'\\caption{{{caption.strip()}}}',
            '\\end{table*}',
        ]
    )
