"""What results say of a folder that does not hold all of a set."""

from pathlib import Path

import pytest

from fan_mm.datasets.shifts import SHIFT_SETS, Condition
from fan_mm.jobs.shifts.results import _set_info

DOMAINS = SHIFT_SETS['coco_o'].conditions


@pytest.mark.parametrize(
    ('name', 'split', 'conditions', 'lacking'),
    [
        ('acdc', 'val', ('fog', 'night', 'rain', 'snow'), None),
        ('acdc', 'val', ('fog', 'rain'), 'night, snow'),
        ('acdc', 'val_ref', ('fog', 'rain', 'snow'), 'night'),
        ('acdc', 'val', ('all',), None),  # a flattened tree, which says so itself
        ('acdc', 'mine.txt', ('fog',), None),
        ('foggy_cityscapes', 'val', ('beta_0.02',), r'beta_0\.005, beta_0\.01'),
        ('dark_zurich', 'val', ('night',), None),  # it has no other
        ('bdd100k', 'val', ('all',), None),
        ('coco_o', 'val2017', DOMAINS, None),
        ('coco_o', 'val2017', DOMAINS[1:], DOMAINS[0]),
    ],
)
def test_a_mean_over_some_of_the_conditions_is_said(name, split, conditions, lacking):
    found = [Condition(c, split, Path('data'), (Path('a.png'),)) for c in conditions]
    info = _set_info(SHIFT_SETS[name], found)
    assert info.effective == (name == 'coco_o' and lacking is None)  # it is of all six
    if lacking is None:
        assert info.told['notes'] == []
        return
    (note,) = info.told['notes']
    assert note.startswith(f'data has nothing of {lacking.replace(chr(92), "")}: pooled and mean')
