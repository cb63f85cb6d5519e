"""The audit of a sweep: automatic checks for mistakes that make results silently wrong.

Each check is a function from `Facts` to findings; no check changes results.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fan_mm.evaluation.audit import cell_checks, class_checks, condition_checks, model_checks
from fan_mm.evaluation.audit.finding import Facts, Finding, in_words, some
from fan_mm.evaluation.cells import CellRecord

__all__ = ['CHECKS', 'Facts', 'Finding', 'audit', 'in_words', 'joined']

# Checks whose findings explain others come first.
CHECKS = (
    model_checks.unset_layers,
    model_checks.batch_norms,
    model_checks.colours,
    model_checks.cropped_twice,
    class_checks.label_values,
    class_checks.unknown_classes,
    class_checks.class_order,
    class_checks.one_class,
    class_checks.chance,
    cell_checks.not_finite,
    cell_checks.same_copies,
    cell_checks.same_pictures,
    cell_checks.same_scores,
    cell_checks.one_score,
    cell_checks.severity_order,
    cell_checks.loading,
    cell_checks.timing,
)


def audit(facts: Facts) -> dict[str, Any]:
    """The 'audit' of results.json: 'checks', names of those made, and 'findings', entries of `Finding`."""
    findings = [finding.entry() for check in CHECKS for finding in check(facts)]
    return {'checks': [check.__name__ for check in CHECKS], 'findings': findings}


# Checks that compare real conditions, each of which is the clean cell of a sweep.
CONDITION_CHECKS = (
    condition_checks.same_pictures,
    condition_checks.same_scores,
    condition_checks.one_score,
)
_GUESSES = ('clean score', 'one class everywhere')


def joined(
    audits: Mapping[str, Mapping[str, Any]], clean: str, records: Mapping[str, CellRecord]
) -> dict[str, Any]:
    """Join the audits of several conditions, each the clean cell of a sweep, and compare the conditions.

    A model at chance level in one condition is a result; at chance level on clean images or in most
    conditions (in all of them, if there are no clean images) it is a finding.

    Args:
        audits: condition name -> audit; the names become the cells of the findings.
        clean: name of the clean condition.
        records: condition name -> record, for conditions with a result.
    """
    cells: dict[tuple[str, ...], list[str]] = {}
    for name, found in audits.items():
        for finding in found['findings']:
            check = finding['check']
            if name == clean or check not in _GUESSES or _in_most(check, audits, clean):
                texts = (check, *(finding[part] for part in ('evidence', 'reason', 'advice')))
                cells.setdefault(texts, []).append(name)
    findings = [
        Finding(check, tuple(names), f'{some(names)}: {evidence}', *texts).entry()
        for (check, evidence, *texts), names in cells.items()
    ]
    between = [finding.entry() for check in CONDITION_CHECKS for finding in check(records, clean)]
    checks: Sequence[str] = next((found['checks'] for found in audits.values()), [])
    return {'checks': list(checks), 'findings': [*between, *findings]}


def _in_most(check: str, audits: Mapping[str, Mapping[str, Any]], clean: str) -> bool:
    """Whether a check finds something in more than half of the conditions, and in more than two."""
    others = [found for name, found in audits.items() if name != clean]
    hit = sum(any(f['check'] == check for f in found['findings']) for found in others)
    return (hit > 2 and 2 * hit > len(others)) or (clean not in audits and hit == len(others))
