"""What stands twice in a results.json must be the same."""

import copy
import re

import pytest

from fan_mm.errors import InputError
from fan_mm.evaluation.consistency import check_results


def cell(value, **place):
    return dict(**place, status='done', metrics={'mIoU': value})


HEAD = dict(
    task='segmentation', metric={'name': 'mIoU'}, model={}, dataset={'classes': ['road', 'car']}
)
SWEEP = HEAD | dict(
    benchmark={'severities': {'fog': [1, 3], 'snow': [3]}},
    cells=[
        cell(70.0, corruption='clean', severity=0),
        cell(50.0, corruption='fog', severity=1),
        cell(40.0, corruption='fog', severity=3),
        cell(30.004, corruption='snow', severity=3),
        cell(1.0, corruption='spatter', severity=3),  # a hold-out
    ],
    summary={
        'clean': 70.0,
        'corruptions': {'fog': {'mean': 45.0}, 'snow': {'mean': 30.0}, 'spatter': {'mean': 1.0}},
        'mean': {'value': 37.5},
    },
)
SHIFTS = HEAD | dict(
    cells=[cell(55.01, set='acdc', condition='fog'), cell(40.0, set='idd', condition='all')],
    sets={
        'acdc': {
            'scored': ['road', 'car'],
            'conditions': {'fog': {'score': {'value': 55.0056}}},
        },
        'idd': {'scored': ['road'], 'conditions': {'all': {'score': {'value': 49.0}}}},
    },
)
BOXES = copy.deepcopy(SHIFTS) | {'task': 'detection'}  # one digit, where the set has its own


def place(results, path):
    for name in path[:-1]:
        results = results[name]
    return results, path[-1]


@pytest.mark.parametrize(
    ('whole', 'path', 'value', 'doubt'),
    [
        (SWEEP, ('task',), 'segmentation', None),
        (SHIFTS, ('task',), 'segmentation', None),
        (SWEEP, ('cells', 1, 'metrics', 'mIoU'), 99.0, 'fog is 45.00 in its summary, 69.50 by its cells'),
        (SWEEP, ('cells', 0, 'metrics', 'mIoU'), 71.0, 'clean is 70.00'),
        (SWEEP, ('cells', 3, 'status'), 'failed', 'snow is 30.00 in its summary, unknown by its cells'),
        (SWEEP, ('cells', 3, 'metrics'), {'mIoU': float('nan')}, 'snow is 30.00'),
        (SWEEP, ('summary', 'mean', 'value'), 47.5, 'mean is 47.50 in its summary, 37.50'),
        (SWEEP, ('summary', 'mean', 'value'), None, None),
        (BOXES, ('cells', 0, 'metrics', 'mIoU'), 55.0556, None),
        (BOXES, ('cells', 0, 'metrics', 'mIoU'), 55.1, 'acdc fog is 55.01'),
        (SHIFTS, ('cells', 0, 'metrics', 'mIoU'), 65.0, 'acdc fog is 55.01 in its sets, 65.00 by its cells'),
    ],
)  # fmt: skip
def test_a_file_that_was_edited_is_told(whole, path, value, doubt):
    results = copy.deepcopy(whole)
    inside, name = place(results, path)
    inside[name] = value
    found = check_results(results, 'a.json', 'sets' if 'sets' in results else 'summary')
    assert found is None if doubt is None else re.search(f'^a.json .* edited: {doubt}', found)


@pytest.mark.parametrize(
    ('path', 'value', 'message'),
    [
        (('summary',), None, "lacks a valid 'summary'"),
        (('cells',), {}, "lacks a valid 'cells'"),
        (('cells', 1, 'metrics', 'mIoU'), 'abc', 'another program: TypeError'),
        (('cells', 1, 'metrics'), None, 'another program: AttributeError'),
        (('summary', 'mean'), {}, "another program: KeyError: 'value'"),
        (('summary', 'mean', 'value'), '37', 'another program: TypeError'),
    ],
)
def test_a_file_that_is_not_whole_is_refused(path, value, message):
    results = copy.deepcopy(SWEEP)
    inside, name = place(results, path)
    inside[name] = value
    with pytest.raises(InputError, match=f'^a.json .*{message}') as error:
        check_results(results, 'a.json', 'summary')
    assert '\n' not in str(error.value)
