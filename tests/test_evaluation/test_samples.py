import pytest

from fan_mm.errors import InputError
from fan_mm.evaluation.samples import spread


def test_spread():
    assert spread(10, 1) == [0]
    assert spread(10, 3) == [0, 3, 6]
    assert spread(10, 10) == spread(10, 99) == list(range(10))
    assert spread(0, 3) == []
    for count in (0, -3):
        with pytest.raises(InputError, match=f'at least one sample is needed, not {count}'):
            spread(10, count)
