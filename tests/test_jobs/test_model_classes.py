"""Whether a model's classes are those of a set."""

import pytest

from fan_mm.errors import InputError
from fan_mm.jobs.model_classes import Known, check_classes

WANTED = ('road', 'traffic light', 'sky')


@pytest.mark.parametrize(
    'names',
    [
        *(WANTED, ('Road', 'TrafficLight', 'Sky'), ('ROAD', 'traffic_light', 'sky'), None),
        ('road', 'signal', 'sky'),  # the other two are where they should be
    ],
)
def test_spelling_does_not_matter(names):
    check_classes(Known(3, names), WANTED, 'A set')
    check_classes(Known(None, names), WANTED, 'A set')


def test_half_of_the_names_may_be_others():
    check_classes(Known(4, ('a', 'b', 'x', 'y')), ('a', 'b', 'c', 'd'), 'A set')


@pytest.mark.parametrize(
    ('known', 'message'),
    [
        (Known(4, None), 'but this one has 4'),
        (Known(None, ('a', 'b')), 'but this one has 2'),
        (Known(3, ('sky', 'traffic light', 'road')), "class 0 is 'road' there, but 'sky' in this"),
        (Known(3, ('road', 'cat', 'dog')), "class 1 is 'traffic light' there, but 'cat' in this"),
    ],
)
def test_other_classes_are_refused(known, message):
    with pytest.raises(InputError, match=message):
        check_classes(known, WANTED, 'A set')
