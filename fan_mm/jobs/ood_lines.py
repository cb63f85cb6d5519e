"""What ``tools/test_ood.py`` prints of a classifier's test sets: a table of one row, and what is missing."""

from collections.abc import Mapping
from typing import Any

from fan_mm.evaluation.imagenet_subsets import FOLDER_SETS
from fan_mm.jobs.robustness import findings_text
from fan_mm.report.calibration import calibration_lines
from fan_mm.report.tables import markdown_table


def missing_values(results: Mapping[str, Any]) -> list[str]:
    """What could not be computed, such as 'imagenet_c: mCE'."""
    return [
        f'{name}: {value}'
        for name, row in results['test_sets'].items()
        for value in row
        if row[value] is None and value != 'size'
    ]


def table_row(results: Mapping[str, Any]) -> str:
    """The results as a Markdown table of one row, headed like the paper's Table 11."""
    heads, cells = ['model'], [results['model']['name']]
    for name, row in results['test_sets'].items():
        if name == 'imagenet_c':
            heads += ['C, mCE (lower is better)', 'C, mean']
            # errors relative to AlexNet's exist for ImageNet's 1000 classes only
            cells.append(_number(row['mCE']) if 'mCE' in row else 'undefined')
            cells.append(_number(row['mean']))
        else:
            heads.append('clean' if name == 'clean' else FOLDER_SETS[name].name)
            cells.append(_number(row['top1']))
    notes = [
        f'{name}: {row["size"]} pixels, {row["weights"]} weights, {row["samples"]} images'
        for name, row in results['test_sets'].items()
    ]
    notes += [
        f'{name}: {line}'
        for name, row in results['test_sets'].items()
        for line in calibration_lines(row.get('calibration') or {})
    ]
    notes += [
        f'{name}: {line}'
        for name, row in results['test_sets'].items()
        if 'audit' in row
        for line in findings_text(row)
    ]
    return '\n'.join([markdown_table(heads, [cells]), *notes])


def _number(value: float | None) -> str:
    return 'incomplete' if value is None else f'{value:.1f}'
