import pytest

from fan_mm.few_names import few, few_and_more


@pytest.mark.parametrize(
    'number, ends, counted',
    [
        (0, '', ''),
        (2, 'a, b', 'a, b'),
        (3, 'a, b, c', 'a, b, c'),
        (4, 'a, b, c, ...', 'a, b, c and 1 more'),
        (9, 'a, b, c, ...', 'a, b, c and 6 more'),
    ],
)
def test_of_many_names_the_first(number, ends, counted):
    names = 'abcdefghi'[:number]
    assert few(iter(names)) == ends
    assert few_and_more(iter(names)) == counted


def test_as_many_as_asked_for():
    assert few('abc', 1) == 'a, ...'
    assert few_and_more('abc', 1) == 'a and 2 more'
