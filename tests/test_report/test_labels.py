import math

import numpy as np
import pytest

from fan_mm.report import labels


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (78.25, '78.2'),
        (0, '0.0'),
        (-3.16, '\N{MINUS SIGN}3.2'),
        (-0.04, '0.0'),
        (None, '\N{EN DASH}'),
        (math.nan, '\N{EN DASH}'),
        (100, '100.0'),
        (np.float64(72.65), '72.7'),  # as a Python float, where NumPy rounds to 72.6
    ],
)
def test_numbers_have_one_decimal(value, text):
    assert labels.number(value) == text


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (2.04, '+2.0'),
        (-2.06, '\N{MINUS SIGN}2.1'),
        (0.04, '0.0'),
        (-0.04, '0.0'),
        (None, '\N{EN DASH}'),
    ],
)
def test_differences_have_a_sign_unless_they_round_to_zero(value, text):
    assert labels.signed(value) == text


@pytest.mark.parametrize(
    ('value', 'digits', 'text'),
    [
        (0.123, 0, '12%'),
        (1.0, 0, '100%'),
        (0.996, 0, '>99%'),
        (0.994, 0, '99%'),
        (np.float32(1 - 1e-7), 0, '>99%'),
        (0.0, 0, '0%'),
        (0.004, 0, '<1%'),
        (0.9996, 1, '>99.9%'),
        (0.996, 1, '99.6%'),
        (0.0004, 1, '<0.1%'),
        (1.0, 1, '100.0%'),
        (math.nan, 0, 'nan%'),
    ],
)
def test_only_all_is_100_per_cent_and_only_nothing_0(value, digits, text):
    assert labels.share(value, digits) == text


def test_intervals():
    assert labels.interval((57.14, 59.26)) == '[57.1, 59.3]'
    assert labels.interval(None) == ''


@pytest.mark.parametrize(
    ('name', 'lines'),
    [
        ('fan_hybrid_s', 'fan_hybrid_s'),
        ('swin-base-patch4_upernet_8xb2', 'swin-base-\npatch4_\nupernet_8xb2'),
        ('letters' * 4, 'letterslette\nrsletterslet\nters'),
        ('a model (of mine)', 'a model (of\nmine)'),
        ('', ''),
    ],
)
def test_long_names_have_several_lines(name, lines):
    assert labels.wrapped(name, 12) == lines
    assert labels.wrapped(name, 100) == name


def test_corruptions_as_printed():
    assert labels.corruption_label('gaussian_noise') == 'Gaussian noise'
    assert labels.corruption_in_sentence('gaussian_noise') == 'Gaussian noise'
    assert labels.corruption_in_sentence('motion_blur') == 'motion blur'
    assert labels.corruption_in_sentence('jpeg_compression') == 'JPEG'


def test_cells_are_gathered_by_corruption():
    cells = [('clean', 0), ('snow', 3), ('snow', 4), ('fog', 1)]
    assert labels.cells_label(cells) == 'Clean; Snow 3, 4; Fog 1'


def test_a_part_of_a_benchmark_is_not_called_by_its_name():
    assert labels.benchmark_label('cityscapes-c') == 'Cityscapes-C'
    assert labels.benchmark_label('cityscapes-c-subset') == 'Cityscapes-C (part)'


def test_all_corruptions_are_counted():
    levels = {'snow': [3], 'fog': [3]}
    assert labels.scope_label({'name': 'all-subset', 'severities': levels}) == (
        '2 corruptions, severity 3'
    )
    assert labels.scope_label({'name': 'all', 'severities': {'fog': [1, 2]}}) == (
        '1 corruption, severities 1, 2'
    )
    assert labels.scope_label({'name': 'coco-c-subset', 'severities': levels}) == 'COCO-C (part)'


@pytest.mark.parametrize(
    ('name', 'label'),
    [
        ('all-subset', '2 corruptions, severity 3 (all-subset)'),
        ('coco-c-subset', 'COCO-C (part)'),
        ('fan-official', 'fan-official'),
    ],
)
def test_what_results_cover_has_the_protocols_name(name, label):
    levels = {'snow': [3], 'fog': [3]}
    assert labels.named_scope({'name': name, 'severities': levels}) == label


@pytest.mark.parametrize(
    ('names', 'folders', 'unique'),
    [
        ('mn', 'xx', ['m', 'n']),
        ('mm', ['seed_0/sweep', 'seed_1/sweep'], ['m (seed_0)', 'm (seed_1)']),
        ('mmm', 'aab', ['m (1)', 'm (2)', 'm (3)']),
        (['m', 'm', 'm (a)'], 'abc', ['m (a) (1)', 'm (b)', 'm (a) (3)']),
    ],
)
def test_names_of_results(names, folders, unique):
    results = [dict(model=dict(name=name)) for name in names]
    paths = [f'{folder}/results.json' for folder in folders]
    assert labels.unique_names(results, paths) == unique
