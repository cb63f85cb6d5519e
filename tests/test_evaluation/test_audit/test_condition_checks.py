"""What real conditions say of each other: nothing of healthy ones, and one finding for each fault."""

import copy
import dataclasses

import pytest
from healthy import healthy

from fan_mm.evaluation.audit import CONDITION_CHECKS, joined
from fan_mm.evaluation.cells import CellRecord

CLEAN = 'clean'
NAMES = (CLEAN, 'acdc/fog', 'acdc/night', 'acdc/rain', 'acdc/snow')


def conditions(task='segmentation', seed=0):
    """Records of five conditions in which nothing is wrong."""
    records = healthy(task, seed=seed).records[: len(NAMES)]
    found = {}
    for number, (name, record) in enumerate(zip(NAMES, records, strict=True)):
        seen = {**copy.deepcopy(record.evidence), 'contents': f'content {number}'}
        found[name] = dataclasses.replace(record, corruption=CLEAN, severity=0, evidence=seen)
    return found


def found_in(records):
    audit = joined({}, CLEAN, records)
    return [(finding['check'], finding['cells']) for finding in audit['findings']]


@pytest.mark.parametrize('task', ['segmentation', 'detection', 'classification'])
def test_healthy_conditions_have_no_finding(task):
    for seed in range(5):
        assert found_in(conditions(task, seed)) == []


@pytest.mark.parametrize('pair', [('acdc/fog', 'acdc/night'), (CLEAN, 'acdc/snow')])
def test_one_folder_for_two_conditions(pair):
    """With all that follows from it, which is one finding."""
    records = conditions()
    first, second = (records[name] for name in pair)
    second.evidence['contents'] = first.evidence['contents']
    second.metrics, second.per_class = first.metrics, first.per_class
    second.evidence['scores'] = first.evidence['scores']
    assert found_in(records) == [('same pictures', list(pair))]
    (finding,) = joined({}, CLEAN, records)['findings']
    pictures = 'clean images' if CLEAN in pair else 'same images'
    assert f'the model gets the {pictures}' in finding['evidence']


@pytest.mark.parametrize('same', ['scores', 'values'])
def test_equal_to_the_last_digit_of_other_pictures(same):
    records = conditions()
    first, second = records['acdc/rain'], records['acdc/snow']
    if same == 'scores':
        second.evidence['scores'] = first.evidence['scores']
    else:
        second.metrics, second.per_class = first.metrics, first.per_class
    assert found_in(records) == [('same scores', ['acdc/rain', 'acdc/snow'])]


def test_few_objects_may_well_be_equal():
    records = conditions('detection')
    for record in records.values():
        record.metrics, record.per_class = {'bbox_mAP': 12.5}, {'bbox_mAP': {'car': 12.5}}
    assert found_in(records) == []


def test_one_value_for_most_conditions():
    records = conditions()
    for name in NAMES[1:4]:
        records[name].metrics = {'mIoU': 1.98}
    assert found_in(records) == [('one score', list(NAMES[1:4]))]


@pytest.mark.parametrize('other', ['clean', 'equal', 'without values per class'])
def test_one_value_counts_once_and_of_segmenters_alone(other):
    records = conditions()
    having = [*NAMES[1:3], CLEAN if other == 'clean' else NAMES[3]]  # two of four
    for name in having:
        records[name].metrics = {'mIoU': 1.98}
    if other == 'equal':
        for name in having[:2]:
            records[name].evidence['scores'] = 'equal'
    elif other != 'clean':
        records[NAMES[3]].per_class = {}
    expected = [('same scores', having[:2])] if other == 'equal' else []
    assert found_in(records) == expected


def test_what_was_stored_before_says_nothing_of_pictures():
    records = conditions()
    for record in records.values():
        del record.evidence['contents']
    assert found_in(records) == []
    assert found_in({CLEAN: CellRecord(CLEAN, 0, 'done')}) == []
    assert len({check.__name__ for check in CONDITION_CHECKS}) == len(CONDITION_CHECKS)
