import pytest

from fan_mm.corruptions import (
    BENCHMARKS,
    CORRUPTIONS,
    GROUPS,
    HOLD_OUTS,
    check_name,
    check_severity,
    choose_cells,
    find_benchmark,
)
from fan_mm.corruptions.names import BENCHMARK_ORDERS, CHANNEL_ORDERS, check_channel_order
from fan_mm.errors import InputError


def test_names_and_order_are_the_references():
    reference = pytest.importorskip('imagecorruptions')
    assert list(CORRUPTIONS) == reference.get_corruption_names('all')
    assert list(HOLD_OUTS) == reference.get_corruption_names('validation')
    for group, names in GROUPS.items():
        standard = [name for name in names if name not in HOLD_OUTS]
        assert standard == reference.get_corruption_names(group)
        assert len(names) == len(standard) + 1


def test_groups_split_all_corruptions():
    assert sorted(sum(GROUPS.values(), ())) == sorted(CORRUPTIONS)


@pytest.mark.parametrize(
    ('name', 'corruptions', 'cells'),
    [
        ('imagenet-c', 15, 75),
        ('cityscapes-c', 16, 4 * 3 + 12 * 5),
        ('coco-c', 16, 80),
        ('fan-official', 19, 57),
        ('all', 19, 95),
    ],
)
def test_benchmark_sizes(name, corruptions, cells):
    benchmark = BENCHMARKS[name]
    assert benchmark.name == name
    assert len(benchmark.severities) == corruptions
    assert sum(len(severities) for severities in benchmark.severities.values()) == cells


@pytest.mark.parametrize('benchmark', BENCHMARKS.values(), ids=BENCHMARKS)
def test_benchmarks_are_consistent(benchmark):
    assert list(benchmark.severities) == [n for n in CORRUPTIONS if n in benchmark.severities]
    assert sorted(sum(benchmark.groups.values(), ())) == sorted(benchmark.severities)
    assert not set(benchmark.hold_outs) & set(benchmark.severities)
    assert benchmark.source


def test_cityscapes_follows_kamann_and_rother():
    benchmark = BENCHMARKS['cityscapes-c']
    assert not {'zoom_blur', 'elastic_transform', 'pixelate'} & set(benchmark.severities)
    for name, severities in benchmark.severities.items():
        assert severities == ((1, 2, 3) if name.endswith('_noise') else (1, 2, 3, 4, 5))
    assert 'brightness' in benchmark.groups['digital']


def test_unknown_benchmark():
    with pytest.raises(InputError, match="'imagenet': choose one of imagenet-c"):
        find_benchmark('imagenet')


@pytest.mark.parametrize('benchmark', BENCHMARKS.values(), ids=BENCHMARKS)
def test_the_cells_of_a_benchmark(benchmark):
    assert choose_cells(benchmark) == benchmark.severities
    for group, names in benchmark.groups.items():
        cells = choose_cells(benchmark, [group])
        assert list(cells) == [name for name in CORRUPTIONS if name in names]
        assert all(cells[name] == benchmark.severities[name] for name in names)


def test_chosen_cells():
    city, everything = BENCHMARKS['cityscapes-c'], BENCHMARKS['all']
    assert choose_cells(everything, ['snow', 'fog', 'snow'], [5, 1]) == {
        'snow': (1, 5),
        'fog': (1, 5),
    }
    assert not set(choose_cells(city, severities=[4])) & set(GROUPS['noise'])
    # outside the mean: on request, at all severities
    assert choose_cells(city, ['pixelate', 'shot_noise']) == {
        'shot_noise': (1, 2, 3),
        'pixelate': (1, 2, 3, 4, 5),
    }


@pytest.mark.parametrize(
    ('corruptions', 'severities', 'message'),
    [
        (['fogg'], None, "did you mean 'fog'"),
        (None, [6], 'from 1 to 5'),
        (['gaussian_noise'], [5], 'cityscapes-c has none of the selected corruptions at'),
        ([], None, 'none of the selected corruptions'),
        (None, [], 'none of the selected corruptions'),
    ],
)
def test_bad_choices_of_cells(corruptions, severities, message):
    with pytest.raises(InputError, match=message):
        choose_cells(BENCHMARKS['cityscapes-c'], corruptions, severities)


@pytest.mark.parametrize(
    ('given', 'nearest'),
    [
        ('snwo', 'snow'),
        ('Gaussian Noise', 'gaussian_noise'),
        ('jpeg', 'jpeg_compression'),
        ('motionblur', 'motion_blur'),
        ('elastic-transform', 'elastic_transform'),
    ],
)
def test_unknown_name_gets_the_nearest(given, nearest):
    with pytest.raises(InputError, match=f'{given!r}: did you mean {nearest!r}'):
        check_name(given)


@pytest.mark.parametrize('given', ['xyz', '', None, 3])
def test_hopeless_name_gets_all(given):
    with pytest.raises(InputError, match=r'There are gaussian_noise, .*, saturate'):
        check_name(given)


@pytest.mark.parametrize('given', [0, 6, -1, 2.5, 3.0, '3', None, True])
def test_severity_out_of_range(given):
    with pytest.raises(InputError, match='integer from 1 to 5, got'):
        check_severity(given)


def test_only_semsegbench_corrupts_resized_pictures_in_another_order():
    """What its authors' preprocessor does: severity 3, after the resize, BGR taken as RGB."""
    odd = BENCHMARKS['semsegbench']
    assert (odd.channel_order, odd.resized) == ('bgr-as-rgb', True)
    assert odd.severities == dict.fromkeys(BENCHMARKS['imagenet-c'].severities, (3,))
    for name in set(BENCHMARKS) - {'semsegbench'}:
        assert (BENCHMARKS[name].channel_order, BENCHMARKS[name].resized) == ('rgb', False)


def test_channel_orders():
    assert [check_channel_order(order) for order in CHANNEL_ORDERS] == list(CHANNEL_ORDERS)
    assert check_channel_order('rgb', BENCHMARK_ORDERS) == 'rgb'
    with pytest.raises(InputError, match="must be one of rgb, bgr-as-rgb, got 'bgr'"):
        check_channel_order('bgr', BENCHMARK_ORDERS)
