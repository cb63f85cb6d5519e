"""What the audit found, and whether results were edited, as reports show it: before the numbers."""

from collections.abc import Mapping
from html import escape
from typing import Any

from fan_mm.evaluation.audit import in_words
from fan_mm.report.page import alarm


def findings_of(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The check and the sentences of each finding; older results have no audit."""
    doubt = results.get('doubt')  # of `fan_mm.evaluation.results.read_results`
    audit = results.get('audit') or {}
    found = [(entry['check'], in_words(entry)) for entry in audit.get('findings', ())]
    return [('edited results', doubt), *found] if doubt else found


def findings_notice(results: Mapping[str, Any]) -> str:
    """The findings for a page; nothing if there are none."""
    return alarm(
        'Audit',
        'What a careful reader would question about these numbers. None of them was changed.',
        [
            f'<strong>{escape(check.capitalize())}:</strong> {escape(text)}'
            for check, text in findings_of(results)
        ],
    )


def findings_markdown(results: Mapping[str, Any]) -> str:
    """The findings as a quotation; nothing if there are none."""
    lines = [f'> - {check}: {text}' for check, text in findings_of(results)]
    return '\n'.join(['> **AUDIT.** Before using these numbers:\n>', *lines]) if lines else ''
