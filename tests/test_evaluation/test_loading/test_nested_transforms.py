"""What lies inside wrapping transforms: found, listed, and changed in copies only."""

from types import SimpleNamespace

import pytest

from fan_mm.evaluation.loading.nested_transforms import (
    change_inside,
    flatten,
    insert,
    inside,
    names_of,
)


class Base:
    def __call__(self, results):
        return results


class A(Base):
    pass


class B(Base):
    pass


class Wrapper(Base):
    """As Compose and RandomApply hold theirs: a list, under a name of their own."""

    def __init__(self, *held, name='transforms'):
        setattr(self, name, list(held))


class Indirect(Base):
    """As TestTimeAug of some libraries: another wrapper under the name."""

    def __init__(self, held):
        self.transforms = held


def is_a(transform):
    return isinstance(transform, A)


@pytest.mark.parametrize('name', ['transforms', 'subroutines'])
def test_what_a_wrapper_holds(name):
    a, b = A(), B()
    wrapper = Wrapper(a, b, name=name)
    assert inside(wrapper) == [(name, [a, b])]
    assert inside(Wrapper(a, 'no transform', name=name)) == []
    assert inside(a) == inside(SimpleNamespace(transforms=(a, b))) == []
    indirect = Indirect(wrapper)
    assert inside(indirect) == ([('transforms', [wrapper])] if name == 'transforms' else [])


def test_flat_is_depth_first_each_wrapper_before_what_it_holds():
    a, b, c = A(), B(), A()
    inner = Wrapper(b)
    outer = Wrapper(a, inner)
    indirect = Indirect(Wrapper(c))
    assert flatten([outer, indirect, b]) == [
        outer,
        a,
        inner,
        b,
        indirect,
        indirect.transforms,
        c,
        b,
    ]


def test_changes_are_made_in_a_copy():
    a, b = A(), B()
    for wrapper, expected in ((Wrapper(a), [b]), (Indirect(Wrapper(a)), b)):
        before = dict(vars(wrapper))
        changed = change_inside(wrapper, lambda held: [b, *held][:1])
        assert changed is not wrapper and vars(wrapper) == before
        assert type(changed) is type(wrapper)
        assert changed.transforms == expected
    assert change_inside(a, lambda held: pytest.fail('it holds nothing')) is a


def test_a_step_is_inserted_beside_the_first_that_fits():
    a, b, c = A(), B(), A()
    assert insert((b, a, c), 'step', is_a, after=True) == [b, a, 'step', c]
    assert insert([b, a, c], 'step', is_a, after=False) == [b, 'step', a, c]
    assert insert([b], 'step', is_a, after=True) == [b]


def test_inside_a_wrapper_only_where_none_fits_outside():
    a, b, c = A(), B(), A()
    wrapper = Wrapper(a, b)
    assert insert([wrapper, c], 'step', is_a, after=False) == [wrapper, 'step', c]
    (changed, other) = insert([wrapper, b], 'step', is_a, after=True)
    assert changed.transforms == [a, 'step', b] and other is b
    assert wrapper.transforms == [a, b]


def test_names_are_of_what_a_library_wraps():
    assert names_of(A()) == ['A', 'Base', 'object']
    assert names_of(SimpleNamespace(t=B())) == ['B', 'Base', 'object']
    assert names_of(SimpleNamespace(t=3))[0] == 'SimpleNamespace'  # no transform
