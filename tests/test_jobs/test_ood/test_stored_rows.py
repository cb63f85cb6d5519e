"""Rows that an earlier run measured: taken where all that decides them is the same, else not at all."""

import json

import pytest

from fan_mm.evaluation.consistency import seal
from fan_mm.jobs.ood_rows import is_stored, stored_rows

MODEL = dict(config_sha256='a', checkpoint_sha256='b', name='fan')
ROWS = dict(clean=dict(top1=80.0, top5=95.0, samples=3, protocol='ImageNet'))


def content(**changes):
    return dict(model=MODEL, test_sets=ROWS, seal=seal(ROWS)) | changes


@pytest.mark.parametrize(
    ('there', 'taken'),
    [
        (content(), True),
        (content(model=MODEL | dict(name='moved')), True),
        (content(model=MODEL | dict(config_sha256='c')), False),
        (content(model=MODEL | dict(checkpoint_sha256='c')), False),
        (content(model=MODEL | dict(checkpoint_sha256='a')), False),
        (content(model={}), False),
        (content(model=None), False),
        (content(test_sets=dict(clean=ROWS['clean'] | dict(top1=99.0))), False),  # edited
        (dict(model=MODEL, test_sets=ROWS), False),  # of an earlier version
        ([], False),
    ],
)
def test_rows_of_the_same_model(there, taken, tmp_path):
    file = tmp_path / 'ood.json'
    file.write_text(json.dumps(there))
    assert stored_rows(file, MODEL) == (ROWS if taken else {})


@pytest.mark.parametrize('damage', [b'', b'{"model"', b'\xff\xfe', None])
def test_no_whole_file(damage, tmp_path):
    file = tmp_path / 'ood.json'
    if damage is not None:
        file.write_bytes(damage)
    assert stored_rows(file, MODEL) == {}


ROW = dict(protocol='ImageNet', size=224, weights='ema', sha256='x')
SCORES = dict(top1=80.0, top5=95.0, samples=3)


@pytest.mark.parametrize(
    ('stored', 'same'),
    [
        (ROW | SCORES, True),
        ({}, False),
        (ROW, False),
        (ROW | SCORES | dict(calibration={}), False),  # which depends on what it was fitted on
        (ROW | SCORES | dict(size=256), False),
        (ROW | SCORES | dict(size=192), False),
        (ROW | SCORES | dict(sha256='y'), False),
        ({k: v for k, v in (ROW | SCORES).items() if k != 'top5'}, False),
    ],
)
def test_a_row_of_the_same_images(stored, same):
    assert is_stored(ROW, stored) == same
