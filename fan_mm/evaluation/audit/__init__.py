"""The audit: what a careful reader would ask about a sweep, asked by the sweep itself.

Each check is one function from `Facts` to findings; none changes a number.
"""

from collections.abc import Mapping
from typing import Any

from fan_mm.evaluation.audit import cell_checks, class_checks, model_checks
from fan_mm.evaluation.audit.finding import Facts, Finding, in_words

__all__ = ['CHECKS', 'Facts', 'Finding', 'audit', 'in_words', 'joined']

# What explains other findings comes first.
CHECKS = (
    model_checks.unset_layers,
    model_checks.batch_norms,
    model_checks.colours,
    model_checks.cropped_twice,
    class_checks.label_values,
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


def joined(audits: Mapping[str, Mapping[str, Any]], clean: str) -> dict[str, Any]:
    """The audits of several conditions, each the clean cell of a sweep, as one.

    Args:
        audits: by the conditions' names, which the findings get as their cells.
        clean: name of the clean one. That a model only guesses elsewhere is a result, not a finding.
    """
    findings = [
        {**finding, 'cells': [name], 'evidence': f'{name}: {finding["evidence"]}'}
        for name, found in audits.items()
        for finding in found['findings']
        if name == clean or finding['check'] not in ('clean score', 'one class everywhere')
    ]
    checks = next((list(found['checks']) for found in audits.values()), [])
    return {'checks': checks, 'findings': findings}
