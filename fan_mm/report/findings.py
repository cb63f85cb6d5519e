"""What stands before the numbers of a report: what is missing, what the audit found, and an edit of the results."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from fan_mm.evaluation.audit import in_words
from fan_mm.report.page import alarm
from fan_mm.report.results_table import ResultsTable


@dataclass(frozen=True)
class Notice:
    """A box above the numbers.

    Attributes:
        heading: one word.
        text: what follows for a reader.
        items: kind, words, and an error's own message ('' without) of each thing.
    """

    heading: str
    text: str
    items: Sequence[tuple[str, str, str]]

    def html(self) -> str:
        """For a page."""
        return alarm(
            self.heading,
            self.text,
            [
                f'<strong>{escape(kind.capitalize())}:</strong> {escape(words)}'
                + (f': <code>{escape(error)}</code>' if error else '')
                for kind, words, error in self.items
            ],
        )

    def markdown(self) -> str:
        """As a quotation."""
        lines = [f'> **{self.heading.upper()}.** {self.text}', '>']
        for kind, words, error in self.items:
            lines.append(
                f'> - {kind}: {words}' + (f': `{" ".join(error.split())}`' if error else '')
            )
        return '\n'.join(lines)


def notices(table: ResultsTable) -> list[Notice]:
    """The boxes that results need; none as a rule."""
    found = [
        Notice(
            'Incomplete',
            f'Some {table.parts} have no result. Every number that needs one of them is left out; '
            'no mean is taken over the rest.',
            table.lacking(),
        ),
        Notice(
            'Audit',
            'What a careful reader would question about these numbers. None of them was changed.',
            _findings(table),
        ),
    ]
    return [notice for notice in found if notice.items]


def _findings(table: ResultsTable) -> list[tuple[str, str, str]]:
    """The check and the sentences of each finding; older results have no audit."""
    doubt = table.results.get('doubt')  # of `fan_mm.evaluation.results.read_results`
    audit = table.results.get('audit') or {}
    found = [(entry['check'], in_words(entry), '') for entry in audit.get('findings', ())]
    return [('edited results', doubt, ''), *found] if doubt else found
