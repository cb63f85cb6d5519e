"""Which conditions a set has (their releases' own, written out again), and which a folder lacks."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from fan_mm.datasets.shifts import SHIFT_SETS
from fan_mm.errors import InputError

ADVERSE = ('fog', 'night', 'rain', 'snow')
CONDITIONS = {
    'acdc': ADVERSE,
    'acdc_boxes': ADVERSE,
    'foggy_cityscapes': ('beta_0.005', 'beta_0.01', 'beta_0.02'),
    'rain_cityscapes': (
        'alpha_0.01_beta_0.005_dropsize_0.01',
        'alpha_0.02_beta_0.01_dropsize_0.005',
        'alpha_0.03_beta_0.015_dropsize_0.002',
    ),
    'coco_o': ('sketch', 'weather', 'cartoon', 'painting', 'tattoo', 'handmake'),
    'dark_zurich': ('night', 'twilight', 'day'),
    'night_driving': ('night',),
    'foggy_driving': ('fog',),
    'foggy_zurich': ('fog',),
    'muses': tuple(f'{w}/{t}' for w in ('clear', 'fog', 'rain', 'snow') for t in ('day', 'night')),
}


@pytest.mark.parametrize('name', SHIFT_SETS)
def test_conditions(name):
    assert SHIFT_SETS[name].conditions == CONDITIONS.get(name, ('all',))


@pytest.mark.parametrize(
    ('name', 'split', 'found', 'lacking'),
    [
        ('acdc', 'val', ADVERSE, []),
        ('acdc', 'val', ('rain',), ['fog', 'night', 'snow']),
        ('acdc', 'val', ('rain', 'unknown'), ['fog', 'night', 'snow']),
        ('acdc', 'val', ('all',), []),  # folders that name no condition
        ('acdc', 'lists/rain.txt', ('rain',), []),
        ('dark_zurich', 'val', ('night',), []),
        ('coco_o', 'val2017', CONDITIONS['coco_o'][1:], ['sketch']),
    ],
)
def test_what_is_lacking(name, split, found, lacking):
    conditions = [SimpleNamespace(name=one, split=split) for one in found]
    assert SHIFT_SETS[name].lacking(conditions) == lacking


def test_one_image_of_another_set_among_its_own_is_refused():
    own = ['rgb_anon', 'fog', 'val', 'GP0100', 'GP0100_frame_000001_rgb_anon.png']
    other = ['leftImg8bit', 'val', 'bonn', 'bonn_000000_000019_leftImg8bit.png']
    SHIFT_SETS['acdc'].refuse_mixture(Path('data'), [own, own, ['unknown.png']])
    for pictures in ([own, other], [other, own], [['unknown.png'], other]):
        with pytest.raises(InputError, match=r'data is not ACDC: left.* belongs to Cityscapes'):
            SHIFT_SETS['acdc'].refuse_mixture(Path('data'), pictures)
