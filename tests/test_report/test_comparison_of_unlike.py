"""Results of other corruptions, images, files or tasks: what is told apart, left out or refused."""

import json
from types import SimpleNamespace

import pytest
from report_checks import notice_with
from synthetic_results import summarise, synthetic_results, write_results

from fan_mm.errors import InputError
from fan_mm.report.comparison import _unlike, build_comparison


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'seed': 1}, 'seed of the corruptions 1 instead of 0'),
        (
            {'channel_order': 'bgr-as-rgb'},
            'channel order of the corruptions bgr-as-rgb instead of bgr',
        ),
        ({'corruption_version': '2'}, 'version of the corruptions 2 instead of 1'),
    ],
)
def test_other_corruptions_are_ranked_but_not_subtracted(tmp_path, change, words):
    paths = [
        write_results(tmp_path / 'a', name='a'),
        write_results(tmp_path / 'b', name='b', **change),
    ]
    comparison = build_comparison(paths)
    [notice] = comparison.notices
    assert words in notice and notice.endswith('. No difference is given.')
    assert comparison.ranks['b']
    assert not comparison.differences


def test_other_images_or_cells_are_neither_ranked_nor_subtracted(tmp_path):
    other = synthetic_results(name='b')
    other['dataset'] |= {'samples': 20, 'sha256': 'another'}
    other['benchmark']['severities']['snow'] = [1, 2, 3]
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b' / 'results.json').write_text(json.dumps(other))
    paths = [
        write_results(tmp_path / 'a', name='a'),
        tmp_path / 'b',
        write_results(tmp_path / 'c', name='c', quality=2.0),
    ]
    comparison = build_comparison(paths)
    [notice] = notice_with(comparison, 'b was not')
    assert notice.endswith('. It is neither ranked nor subtracted.')
    for words in (
        'other severities',
        'number of images 20 instead of 500',
        'other images and labels',
    ):
        assert words in notice
    assert set(comparison.ranks) == {'a', 'c'}
    assert {d.name for d in comparison.differences} == {'c'}


def weather_at_1_and_2(folder, name, weather):
    """Results of a part of Cityscapes-C that has no more of the weather than named."""
    results = synthetic_results(name=name)
    groups = {'weather': list(weather)}
    severities = {c: [1, 2] for c in weather}
    results['benchmark'] |= {
        'name': 'cityscapes-c-subset',
        'groups': groups,
        'severities': severities,
    }
    results['summary'] = summarise('segmentation', 'mIoU', severities, groups, (), results['cells'])
    folder.mkdir()
    (folder / 'results.json').write_text(json.dumps(results))
    return folder


def test_means_over_other_corruptions_are_told_apart(tmp_path):
    paths = [
        weather_at_1_and_2(tmp_path / 'a', 'a', ('snow', 'frost', 'fog', 'spatter')),
        weather_at_1_and_2(tmp_path / 'b', 'b', ('snow',)),
    ]
    comparison = build_comparison(paths, published=True)
    [notice] = notice_with(comparison, 'b was not')
    assert 'other corruptions (without frost, fog, spatter)' in notice
    assert 'severities' not in notice
    a, b, *printed = comparison.entries
    assert a.comparable and not a.unlike
    assert not b.comparable and b.unlike == {'mean', 'worst', 'weather'}
    assert not printed[0].comparable
    assert printed[0].unlike >= {'mean', 'weather', 'snow'}  # at severities 1 to 5
    assert notice_with(comparison, 'marks a mean over other corruptions or severities')
    back = build_comparison(paths[::-1])
    assert notice_with(back, 'other corruptions (with frost, fog, spatter)')
    assert back.entries[1].unlike == {'mean', 'worst', 'weather'}


@pytest.mark.parametrize(
    ('severities', 'groups', 'unlike'),
    [
        ({}, {}, set()),
        ({'fog': [1]}, {}, {'fog', 'weather', 'mean', 'worst'}),
        ({'fog': (1, 2)}, {}, set()),
        ({'rain': [1]}, {}, {'mean', 'worst'}),  # one more, in no group of ours
        ({'rain': [1]}, {'weather': ['fog', 'rain']}, {'weather', 'mean', 'worst'}),
        ({'fog': None}, {'weather': None}, {'weather', 'mean', 'worst'}),
        ({}, {'weather': ['frost']}, {'weather', 'mean', 'worst'}),
    ],
)
def test_means_that_are_over_other_cells(severities, groups, unlike):
    wanted, ours = {'snow': [3], 'fog': [1, 2]}, {'noise': ['snow'], 'weather': ['fog']}
    table = SimpleNamespace(groups=ours, results={'benchmark': {'severities': wanted}})
    theirs = {name: levels for name, levels in (wanted | severities).items() if levels}
    assert _unlike(table, theirs, {g: n for g, n in (ours | groups).items() if n}) == unlike


def test_images_from_files_are_told_from_those_made_on_the_fly(tmp_path):
    unknown = dict.fromkeys(('seed', 'channel_order', 'corruption_version'))
    paths = [
        write_results(tmp_path / 'a', name='a'),
        write_results(tmp_path / 'b', name='b', corrupted_root='/x', **unknown),
    ]
    [notice] = build_comparison(paths).notices
    assert 'corrupted images read from /x instead of made on the fly' in notice
    assert 'seed of the corruptions unknown instead of 0' in notice
    assert 'None' not in notice + build_comparison(paths[::-1]).notices[0]


def test_results_of_two_tasks_or_metrics_are_refused(tmp_path):
    seg, det = write_results(tmp_path / 'a'), write_results(tmp_path / 'b', 'detection')
    with pytest.raises(
        InputError, match=r'task detection, .* has segmentation: compare results of one task$'
    ) as caught:
        build_comparison([seg, det])
    assert '\n' not in str(caught.value)
    masks = synthetic_results('detection')
    masks['metric']['name'] = 'segm_mAP'
    (tmp_path / 'results.json').write_text(json.dumps(masks))
    with pytest.raises(InputError, match='metric segm_mAP'):
        build_comparison([det, tmp_path])


@pytest.mark.parametrize(
    'copies, same',
    [
        ({'fog/1': 'x', 'fog/2': 'y'}, True),
        ({'fog/1': 'x', 'snow/1': 'z'}, True),
        ({'fog/1': 'edited', 'fog/2': 'y'}, False),
        ({'snow/1': 'z'}, False),
        (None, False),
    ],
)
def test_copies_are_compared_by_content_not_place(tmp_path, copies, same):
    paths = [
        write_results(
            tmp_path / 'a',
            name='a',
            corrupted_root='/job1',
            corrupted_images={'fog/1': 'x', 'fog/2': 'y'},
        ),
        write_results(tmp_path / 'b', name='b', corrupted_root='/job2', corrupted_images=copies),
    ]
    notices = ' '.join(build_comparison(paths).notices)
    assert ('corrupted images read from /job2 instead of read from /job1' in notices) != same


@pytest.mark.parametrize(
    ('settings', 'differing'),
    [
        ([{'ignore_index': 255, 'nan_to_num': None}] * 2, ''),
        ([{'ignore_index': 255}, {'ignore_index': 0}], 'ignore_index'),
        ([{'ignore_index': 255, 'annotations': 'a'}, {'ignore_index': 255}], ''),
        ([None, {'ignore_index': 0}], ''),  # of an earlier version
        ([{'annotations': 'a', 'iou_thrs': [0.5]}, {'annotations': 'b', 'iou_thrs': [0.9]}],
         'annotations, iou_thrs'),
    ],
)  # fmt: skip
def test_other_settings_of_the_metric(tmp_path, settings, differing):
    paths = []
    for name, own in zip('ab', settings, strict=True):
        results = synthetic_results(name=name)
        results['metric']['settings'] = own
        (tmp_path / name).mkdir()
        paths.append(tmp_path / name / 'results.json')
        paths[-1].write_text(json.dumps(results))
    comparison = build_comparison(paths)
    found = notice_with(comparison, 'settings of the metric')
    assert bool(found) == bool(differing) != bool(comparison.differences)
    assert all(f'b was not measured in the same way as a: other settings of the metric ({differing}).'
               in notice for notice in found)  # fmt: skip
