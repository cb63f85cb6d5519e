import pytest

from fan_mm.corruptions import BENCHMARKS, CORRUPTIONS
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.scope import choose_scope, default_benchmark

CITYSCAPES, IMAGENET = BENCHMARKS['cityscapes-c'], BENCHMARKS['imagenet-c']


@pytest.mark.parametrize(
    ('name', 'cells'),
    [
        ('cityscapes-c', 4 * 3 + 12 * 5),
        ('coco-c', 16 * 5),
        ('imagenet-c', 15 * 5),
        ('fan-official', 19 * 3),
        ('all', 19 * 5),
    ],
)
def test_whole_benchmark(name, cells):
    scope = choose_scope(BENCHMARKS[name])
    assert scope.benchmark is BENCHMARKS[name]
    assert len(scope.cells) == cells + 1
    assert scope.cells[0] == CLEAN
    assert len(set(scope.cells)) == len(scope.cells)


def test_cityscapes_noise_stops_at_3():
    scope = choose_scope(CITYSCAPES, severities=[3, 4, 5])
    assert scope.severities['gaussian_noise'] == (3,)
    assert scope.severities['fog'] == (3, 4, 5)
    assert scope.benchmark.name == 'cityscapes-c-subset'


def test_a_group_is_its_members_in_the_benchmark():
    scope = choose_scope(IMAGENET, ['noise'])
    assert list(scope.severities) == ['gaussian_noise', 'shot_noise', 'impulse_noise']
    assert scope.benchmark.groups == {'noise': ('gaussian_noise', 'shot_noise', 'impulse_noise')}
    assert not scope.hold_outs


def test_hold_outs_are_evaluated_but_not_in_the_mean():
    scope = choose_scope(IMAGENET, ['fog', 'spatter'], [2, 1])
    assert scope.benchmark.severities == {'fog': (1, 2)}
    assert scope.hold_outs == {'spatter': (1, 2)}
    assert scope.cells == [CLEAN, *(Cell(n, s) for n in ('fog', 'spatter') for s in (1, 2))]


def test_an_empty_list_leaves_the_clean_cell_alone():
    scope = choose_scope(IMAGENET, [])
    assert scope.cells == [CLEAN] and not scope.severities


def test_all_names_keep_the_benchmarks_name():
    scope = choose_scope(IMAGENET, CORRUPTIONS)
    assert scope.benchmark.name == 'imagenet-c'
    assert set(scope.hold_outs) == set(IMAGENET.hold_outs)


def test_default_follows_the_dataset():
    class CityscapesDataset:
        pass

    class Mine(CityscapesDataset):
        pass

    class Repeat:
        dataset = Mine()

    class Concat:
        datasets = (Repeat(), object())

    assert default_benchmark(Mine()) == 'cityscapes-c'
    assert default_benchmark(Concat()) == 'cityscapes-c'
    assert default_benchmark(object()) == 'all'
