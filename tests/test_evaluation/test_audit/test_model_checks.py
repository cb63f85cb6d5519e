"""What is said of the model: each check by what it finds, and where it begins."""

import dataclasses

import pytest
from healthy import healthy

from fan_mm.evaluation.audit import model_checks


@pytest.mark.parametrize(
    ('plain', 'exchanged', 'interval', 'is_found'),
    [
        (50.0, 60.0, [0.1, 20.0], True),
        (50.0, 60.0, [0.0, 20.0], False),
        (50.0, 60.0, [-0.5, 20.0], False),
        (50.0, 50.9, [0.5, 1.5], False),  # less than a point is no harm
        (50.0, 51.0, [0.5, 1.5], True),
        (50.0, 55.0, None, True),  # without an interval a tenth
        (50.0, 54.9, None, False),
        (0.0, 2.0, None, True),
        (None, 2.0, None, False),
        (2.0, None, None, False),
        (60.0, 50.0, [-12.0, -8.0], False),
    ],
)
def test_a_score_that_rises_with_exchanged_colours(plain, exchanged, interval, is_found):
    seen = dict(images=8, plain=plain, exchanged=exchanged, interval=interval)
    facts = dataclasses.replace(healthy(), colours=seen)
    found = list(model_checks.colours(facts))
    assert len(found) == is_found
    for finding in found:
        numbers = f'{facts.headline} is {plain:.2f}, and {exchanged:.2f} with red and blue swapped'
        assert finding.evidence == f'on 8 clean images {numbers}'
        assert finding.check == 'red and blue' and finding.cells == ('clean',)
        assert finding.reason.startswith('bgr_to_rgb') and finding.advice.startswith('Change')


def test_where_nothing_was_looked_at_nothing_is_said():
    facts = healthy()
    for check in ('colours', 'cropped_twice', 'unset_layers', 'batch_norms'):
        assert list(getattr(model_checks, check)(facts)) == []


def test_layers_and_crops_are_counted():
    facts = healthy()
    layers = ['a', 'b', 'c', 'd', 'e']
    facts.clean.evidence.update(unset=layers, cropped_twice=dict(size=[32, 40], looked_at=16))
    facts.records[2].evidence['batch_norms'] = layers[:2]
    facts.records[4].evidence['batch_norms'] = layers
    [unset], [crop], [norms] = (
        list(getattr(model_checks, check)(facts))
        for check in ('unset_layers', 'cropped_twice', 'batch_norms')
    )
    assert [finding.check for finding in (unset, crop, norms)] == [
        *('weights of the model', 'crops', 'batch norms')
    ]
    for finding, reason, advice in (
        (unset, 'a checkpoint that lacks them', 'Compare the names'),
        (crop, "ImageNet's images were cropped", 'Remove the resize'),
        (norms, 'a train() method', 'Make sure that eval()'),
    ):
        assert finding.reason.startswith(reason) and finding.advice.startswith(advice)
    assert unset.cells == crop.cells == ('clean',)
    assert unset.evidence == '5 layers have their initial values: a, b, c, d and 1 more'
    assert crop.evidence.startswith('all 16 images checked have 32x40 pixels on disk')
    assert norms.cells == tuple(str(facts.records[i].cell) for i in (2, 4))
    assert norms.evidence.startswith('2 batch norms use batch statistics: a, b')
