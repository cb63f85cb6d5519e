"""What results say of a folder that does not hold all of a set."""

from pathlib import Path

import pytest

from fan_mm.datasets.shifts import SHIFT_SETS, Condition
from fan_mm.jobs.shifts.results import _set_info

DOMAINS = SHIFT_SETS['coco_o'].conditions
ACDC = ('fog', 'night', 'rain', 'snow')


def whole(name, split, conditions, **others):
    """Conditions with as many pictures as are published, but for some."""
    counts = SHIFT_SETS[name].counts.get(split, {})
    if isinstance(counts, int):  # of all together
        rest = counts - len(conditions) + 1
        counts = dict.fromkeys(conditions, 1) | {conditions[0]: rest}
    if conditions == ('all',) and 'all' not in counts:
        counts = {'all': sum(counts.values())}
    counts = {**counts, **others}
    return [
        Condition(c, split, Path('data'), (Path('a.png'),) * counts.get(c, 1)) for c in conditions
    ]


@pytest.mark.parametrize(
    ('name', 'split', 'conditions', 'lacking'),
    [
        ('acdc', 'val', ('fog', 'night', 'rain', 'snow'), None),
        ('acdc', 'val', ('fog', 'rain'), 'night, snow'),
        ('acdc', 'val_ref', ('fog', 'rain', 'snow'), 'night'),
        ('acdc', 'val', ('all',), None),  # a flattened tree, which says so itself
        ('acdc', 'mine.txt', ('fog',), None),
        ('foggy_cityscapes', 'val', ('beta_0.02',), None),  # what papers use
        ('foggy_cityscapes', 'val', ('beta_0.005', 'beta_0.02'), 'beta_0.01'),
        ('rain_cityscapes', 'train', SHIFT_SETS['rain_cityscapes'].conditions, None),
        ('dark_zurich', 'val', ('night',), None),  # it has no other
        ('bdd100k', 'val', ('all',), None),
        ('coco_o', 'val2017', DOMAINS, None),
        ('coco_o', 'val2017', DOMAINS[1:], DOMAINS[0]),
    ],
)
def test_a_mean_over_some_of_the_conditions_is_said(name, split, conditions, lacking):
    info = _set_info(SHIFT_SETS[name], whole(name, split, conditions))
    assert info.effective == (name == 'coco_o' and lacking is None)  # it is of all six
    if lacking is None:
        assert info.told['notes'] == []
        return
    (note,) = info.told['notes']
    assert note.startswith(f'data contains nothing of {lacking}: pooled and mean')


@pytest.mark.parametrize(
    ('name', 'split', 'conditions', 'others', 'parts', 'published'),
    [
        ('acdc', 'val', ACDC, {'fog': 37}, '37 of 100 images (fog)', 406),
        (
            *('acdc', 'val', ACDC, {'fog': 37, 'night': 105}),
            *('37 of 100 images (fog), 105 of 106 images (night)', 406),
        ),
        ('acdc', 'train', ACDC, {'snow': 401}, '401 of 400 images (snow)', 1600),
        ('acdc', 'val', ('all',), {'all': 400}, '400 of 406 images', 406),  # flattened
        ('acdc', 'mine.txt', ('fog',), {'fog': 3}, None, None),
        ('dark_zurich', 'val', ('night',), {'night': 49}, '49 of 50 images (night)', 50),
        ('night_driving', 'test', ('night',), {'night': 49}, '49 of 50 images (night)', 50),
        ('cityscapes', 'val', ('all',), {'all': 59}, '59 of 500 images', 500),
        (
            *('foggy_cityscapes', 'val', ('beta_0.02',), {'beta_0.02': 52}),
            *('52 of 500 images (beta_0.02)', 500),
        ),
        ('foggy_driving', 'fine', ('fog',), {'fog': 32}, '32 of 33 images (fog)', 33),
        ('foggy_zurich', 'testv2', ('fog',), {'fog': 39}, '39 of 40 images (fog)', 40),
        ('bdd100k', 'val', ('all',), {'all': 1000}, '1000 of 998 images', 998),
        ('bdd100k', 'night', ('all',), {}, None, 87),
        ('muses', 'val', SHIFT_SETS['muses'].conditions, {'fog/day': 2}, '251 of 250 images', 250),
        (
            'muses',
            'val',
            ('fog/day', 'rain/day'),
            {},
            None,
            None,
        ),  # of which the number is not known
        ('wilddash', 'public', ('all',), {'all': 9}, '9 of 4256 images', 4256),
        ('mapillary', 'validation', ('all',), {'all': 9}, '9 of 2000 images', 2000),
        ('idd', 'val', ('all',), {'all': 9}, None, None),  # of I and II together not known
        ('coco_o', 'val2017', DOMAINS, {DOMAINS[0]: 9}, '14 of 6782 images', 6782),
    ],
)
def test_a_copy_with_another_number_of_pictures_is_said(
    name, split, conditions, others, parts, published
):
    record = SHIFT_SETS[name]
    info = _set_info(record, whole(name, split, conditions, **others))
    notes = [note for note in info.told['notes'] if 'contains nothing of' not in note]
    said = f'data has {parts} of {record.title} {split}: scores of this part are not comparable'
    assert len(notes) == bool(parts)
    assert not parts or notes[0].startswith(said)
    assert info.published.get('all') == published


@pytest.mark.parametrize(
    ('name', 'split', 'total'),
    [
        ('cityscapes', 'train', 2975),
        ('foggy_cityscapes', 'train', 3 * 2975),
        ('rain_cityscapes', 'val', 33 * 36),
        ('rain_cityscapes', 'train', 9432),
        ('foggy_driving', 'all', 101),
        ('foggy_driving', 'dense', 21),
        ('foggy_zurich', 'testv1', 16),
        ('mapillary', 'training', 18000),
        ('muses', 'train', 1500),
    ],
)
def test_the_whole_of_other_splits(name, split, total):
    record = SHIFT_SETS[name]
    assert _set_info(record, whole(name, split, record.conditions)).published['all'] == total
