import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from synthetic_results import summarise, synthetic_results, write_results

from fan_mm.corruptions import BENCHMARKS
from fan_mm.errors import InputError
from fan_mm.evaluation.bootstrap import PerImage
from fan_mm.evaluation.cells import Cell, CellRecord
from fan_mm.evaluation.results import build_results, read_results
from fan_mm.evaluation.results import write_results as write_with_statistics
from fan_mm.evaluation.scope import choose_scope
from fan_mm.evaluation.semsegbench import rows
from fan_mm.jobs.robustness import summary_text
from fan_mm.report import comparison
from fan_mm.report.comparison import CALIBRATION, _calibration, _unlike, build_comparison
from fan_mm.report.figures import new_figure
from fan_mm.report.html import report_page
from fan_mm.report.robustness_table import RobustnessTable
from fan_mm.report.tables import cells_csv, report_markdown


def notice_with(comparison, words):
    return [notice for notice in comparison.notices if words in notice]


@pytest.fixture
def three(tmp_path):
    """Results of a better, a middling and a worse model on the same images."""
    models = {'good': 1.4, 'fair': 1.1, 'poor': 0.7}
    return [write_results(tmp_path / n, name=n, quality=q) for n, q in models.items()]


def with_statistics(folder, name, right):
    """Results whose cells say what their statistics per image say: 40 images, one class each.

    Args:
        right: for clean and for corrupted images, how many of an image's 10 pixels are right, (40,).
    """
    results = synthetic_results(name=name)
    cells = {}
    for cell in results['cells']:
        hits = right['clean' if cell['corruption'] == 'clean' else 'corrupted']
        statistics = np.stack([hits, np.full(40, 10)], axis=1)[..., None].astype(np.float64)
        cells[Cell(cell['corruption'], cell['severity'])] = statistics
        cell['metrics']['mIoU'] = float(100 * hits.sum() / 400)
    write_with_statistics(folder, results, PerImage('iou', np.arange(40).astype(str), cells))
    return folder / 'results.json'


def test_values_are_those_of_the_results(three):
    comparison = build_comparison(three)
    assert [e.name for e in comparison.entries] == ['good', 'fair', 'poor']
    for path, entry in zip(three, comparison.entries, strict=True):
        summary = json.loads(path.read_text())['summary']
        assert entry.clean == summary['clean']
        assert entry.mean == summary['mean']['value']
        assert list(entry.mean_interval) == summary['mean']['interval']
        assert entry.retention == summary['retention']['value']
        assert entry.groups['noise'] == summary['groups']['noise']['mean']
        assert entry.corruptions['fog'] == summary['corruptions']['fog']['mean']
        assert not entry.published
    assert not comparison.notices
    assert set(comparison.corruptions) == comparison.entries[0].corruptions.keys()


def test_ranks(three):
    comparison = build_comparison([three[2], three[0], three[1]])
    assert set(comparison.ranks['good'].values()) == {1}
    assert set(comparison.ranks['fair'].values()) == {2}
    assert set(comparison.ranks['poor'].values()) == {3}


def test_values_that_print_equal_share_a_rank(tmp_path):
    paths = [
        write_results(tmp_path / n, name=n, quality=q)
        for n, q in (('a', 1.0), ('b', 1.0001), ('c', 0.5))
    ]
    ranks = build_comparison(paths).ranks
    assert ranks['a']['snow'] == ranks['b']['snow'] == 1
    assert ranks['c']['snow'] == 3


def test_an_incomplete_corruption_is_not_ranked(tmp_path):
    paths = [
        write_results(tmp_path / 'a', name='a'),
        write_results(tmp_path / 'b', name='b', failed=[('snow', 2)]),
    ]
    comparison = build_comparison(paths)
    assert 'snow' not in comparison.ranks['a'] | comparison.ranks['b']
    assert comparison.ranks['a']['fog'] == 1
    assert comparison.entries[1].mean is None
    assert notice_with(comparison, 'b is incomplete: 1 cell failed.')
    assert {d.points for d in comparison.differences if d.measure != 'clean'} == {None}


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


@pytest.mark.parametrize('calibration', [None, {}, {'summary': None}])
def test_results_without_calibration(calibration):
    assert _calibration(SimpleNamespace(results={'calibration': calibration})) == {}


@pytest.mark.parametrize(
    ('absent', 'words'),
    [
        ({}, ''),
        ({'failed': 1}, '1 cell failed'),
        ({'missing': 2, 'undefined': 1}, '2 cells missing, 1 cell undefined'),
    ],
)
def test_cells_without_a_score_are_counted(absent, words):
    table = SimpleNamespace(absent=lambda state: [None] * absent.get(state, 0))
    assert comparison._count_absent(table) == words


@pytest.mark.parametrize('other', [False, True])
def test_differences_in_their_order(other, monkeypatch):
    def found(points):
        return dict(difference=points, interval=points and [0.5, 1.5], significant=points and True)

    measured = {
        'mCE': found(1.0),
        'clean': found(None),
        'unknown': found(1.0),
        'mean_ECE_scaled': found(1.0),
    }
    measured |= {'mean_mAcc': found(1.0), 'mean_aAcc': found(None), 'clean_mAcc': found(2.0)}
    asked = []
    monkeypatch.setattr(comparison, 'compare', lambda *paths: asked.append(paths) or measured)
    monkeypatch.setattr(comparison, '_other_cells', lambda *_: [])
    monkeypatch.setattr(comparison, '_differing', lambda *_: ['seed'] * other)
    results = [{'other_summaries': ['mAcc', 'aAcc']}, {}, {}]
    differences = comparison._differences(['a', 'b', 'c'], results, ['A', 'B', 'C'])
    assert asked == ([] if other else [('a', 'b'), ('a', 'c')])
    rows = [(d.measure, d.score, d.points, d.interval, d.significant) for d in differences]
    expected = [
        ('clean', '', None, None, None),
        ('mCE', '', 1.0, (0.5, 1.5), True),
        ('mean_ECE_scaled', '', 1.0, (0.5, 1.5), True),
        ('clean', 'mAcc', 2.0, (0.5, 1.5), True),
        ('mean', 'mAcc', 1.0, (0.5, 1.5), True),
    ]
    assert rows == ([] if other else expected * 2)
    assert [d.name for d in differences] == ([] if other else ['B'] * 5 + ['C'] * 5)


def test_calibration_of_an_entry():
    ece = {'clean': {'value': 1.0}, 'mean': {'value': 2.0}, 'worst': {'value': 3.0}}
    summary = {'plain': {'ECE': ece}, 'scaled': {'ECE': ece}}
    found = _calibration(SimpleNamespace(results={'calibration': {'summary': summary}}))
    assert found == {
        'clean_ECE': 1.0,
        'mean_ECE': 2.0,
        'clean_ECE_scaled': 1.0,
        'mean_ECE_scaled': 2.0,
    }
    assert found.keys() <= set(CALIBRATION)


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


def test_nothing_to_compare():
    with pytest.raises(InputError, match='at least one'):
        build_comparison([])


def test_missing_file(three, tmp_path):
    with pytest.raises(InputError, match='cannot read'):
        build_comparison([*three, tmp_path / 'nowhere' / 'results.json'])


def test_equal_names_are_told_apart(tmp_path):
    paths = [write_results(tmp_path / f, name='fan') for f in ('run1', 'run2')]
    assert [e.name for e in build_comparison(paths).entries] == ['fan (run1)', 'fan (run2)']
    names = [e.name for e in build_comparison([paths[0], paths[0]]).entries]
    assert len(set(names)) == 2


def test_differences_without_images_have_no_interval(three):
    differences = build_comparison(three).differences
    assert [(d.name, d.measure) for d in differences] == [
        (name, measure) for name in ('fair', 'poor') for measure in ('clean', 'mean', 'retention')
    ]
    assert all(d.interval is None and d.significant is None for d in differences)
    assert differences[0].points == pytest.approx(0)
    assert differences[1].points < 0


def test_paired_differences(tmp_path):
    hard = np.random.default_rng(0).integers(2, 8, 40)  # pixels right, varying much between images
    first = with_statistics(tmp_path / 'a', 'a', {'clean': hard + 1, 'corrupted': hard})
    better = with_statistics(tmp_path / 'b', 'b', {'clean': hard + 1, 'corrupted': hard + 1})
    same = with_statistics(tmp_path / 'c', 'c', {'clean': hard + 1, 'corrupted': np.roll(hard, 1)})
    found = {(d.name, d.measure): d for d in build_comparison([first, better, same]).differences}
    mean = found['b', 'mean']
    assert mean.points == pytest.approx(10)
    # Every image gains one pixel of ten: paired, the difference does not depend on the draw.
    assert mean.interval == pytest.approx((10, 10))
    assert mean.significant is True
    assert found['b', 'clean'].significant is False
    noise = found['c', 'mean']
    assert noise.points == pytest.approx(0)
    assert noise.interval[0] < 0 < noise.interval[1]
    assert noise.significant is False
    assert found['b', 'retention'].significant is True


def test_published_rows_join_the_ranks_on_the_papers_images(tmp_path):
    path = write_results(tmp_path, name='mine', quality=1.4)
    comparison = build_comparison([path], published=True)
    printed = [e for e in comparison.entries if e.published]
    assert len(printed) == 20 + 1
    fan = next(e for e in printed if e.name == 'FAN-S-Hybrid')
    assert (fan.clean, fan.mean, fan.retention) == (81.5, 66.4, 81.5)
    assert fan.published == ('Table 9, row 18', 'Table 13, row 17')
    assert fan.groups['noise'] == pytest.approx((57.5 + 61.3 + 62.2 + 71.5) / 4)
    assert comparison.ranks['FAN-L-Hybrid']['gaussian_noise'] == 1
    assert comparison.ranks['mine']['gaussian_noise'] > 1
    assert 'jpeg_compression' not in comparison.ranks['SegFormer-B1']
    incomplete = next(e for e in printed if e.name == 'SegFormer-B1')
    assert incomplete.groups == {'noise': None, 'blur': None, 'weather': 48.9, 'digital': None}
    assert notice_with(comparison, 'Cityscapes-C as printed: ')
    assert notice_with(comparison, 'they were not measured here')
    assert notice_with(comparison, 'bgr-as-rgb')
    assert notice_with(comparison, 'Kamann and Rother, the source')
    assert not comparison.differences
    assert fan.worst == 47.4
    tap = printed[-1]
    assert (tap.name, tap.clean, tap.mean) == ('TAP-ADL-FAN-B-Hybrid', 82.9, 69.7)
    assert (tap.publication, tap.real, tap.worst) == ('Guo et al., 2023', {'ACDC test': 63.6}, None)


def semsegbench(tmp_path, dataset='CityscapesDataset', samples=500, **clean_and_corrupted):
    """Results of SemSegBench's protocol: the same score for every corruption but snow."""
    scope = choose_scope(BENCHMARKS['semsegbench'])
    values = {'clean': 80.0, 'corrupted': 60.0, 'snow': 40.0, **clean_and_corrupted}
    scores = {cell: values.get(cell.corruption, values['corrupted']) for cell in scope.cells}
    dataset = {'type': dataset, 'samples': samples, 'total': samples, 'sha256': '2'}
    results = build_results(
        scope=scope,
        records=[CellRecord(*cell, 'done', {'mIoU': value}) for cell, value in scores.items()],
        task='segmentation',
        headline='mIoU',
        model=dict.fromkeys(('config', 'checkpoint', 'config_sha256', 'checkpoint_sha256'))
        | {'name': 'mine'},
        dataset=dataset | {'classes': ['a', 'b'], 'palette': None},
        protocol=dict.fromkeys(('seed', 'channel_order', 'corruption_version', 'corrupted_root')),
        per_image=None,
    )
    write_with_statistics(tmp_path, results, None)
    return tmp_path


def test_a_result_by_semsegbench_takes_its_place_among_its_models(tmp_path):
    comparison = build_comparison([semsegbench(tmp_path)], published=True)
    printed = [e for e in comparison.entries if e.published]
    assert len(printed) == 32
    sound = [row for row in rows() if row['dataset'] == 'cityscapes' and row['mean'] > 30]
    assert len(sound) == 31
    mean = (14 * 60 + 40) / 15
    wanted = BENCHMARKS['semsegbench'].severities
    places = {
        'clean': 1 + sum(round(row['clean'], 1) > 80 for row in sound),
        'mean': 1 + sum(round(row['mean'], 1) > round(mean, 1) for row in sound),
        'worst': 1 + sum(min(row[c] for c in wanted) > 40 for row in sound),
    }
    assert comparison.places == {'mine': {name: (place, 32) for name, place in places.items()}}
    assert len(set(places.values())) == 3
    best = next(e for e in printed if e.name == 'UPerNet InternImage-XL 512x1024')
    assert (best.clean, best.mean, best.real['ACDC val']) == (83.62, 74.26, 62.81)


@pytest.mark.parametrize('thresholds', [None, [0.5], [*np.linspace(0.5, 0.95, 10).round(2)]])
def test_an_ap_of_other_overlaps_is_not_ranked_with_published_ones(tmp_path, thresholds):
    results = synthetic_results('detection', name='mine')
    results['metric']['settings'] = thresholds and {'iou_thrs': thresholds}
    (tmp_path / 'results.json').write_text(json.dumps(results))
    comparison = build_comparison([tmp_path], published=True)
    other = thresholds == [0.5]
    words = 'not ranked with the results: they average over overlaps of 0.5 to 0.95'
    assert bool(notice_with(comparison, words)) == other
    assert any(e.comparable for e in comparison.entries[1:]) != other


def test_a_broken_published_sweep_is_shown_and_has_no_rank(tmp_path):
    comparison = build_comparison([semsegbench(tmp_path)], published=True)
    broken = next(e for e in comparison.entries if e.name == 'DeepLabV3+ R18 512x1024')
    assert list(broken.corruptions.values()).count(1.98) == 11
    assert not comparison.ranks.get(broken.name)
    assert notice_with(comparison, '11 of 15 corruptions have the same mIoU, 1.98')


@pytest.mark.parametrize(
    ('task', 'places'),
    [
        # Table 8 prints an average of 64.5 for FAN-S-ViT, whose mCE of 47.7 in Table 11 means about 62
        # over the benchmark's 15 corruptions; of no model is there a worst
        ('classification', {'clean'}),
        ('detection', {'clean'}),
        ('segmentation', {'clean', 'mean'}),
    ],
)
def test_what_the_paper_averages_over_other_corruptions_has_no_place(tmp_path, task, places):
    comparison = build_comparison([write_results(tmp_path, task, name='mine')], published=True)
    own, *printed = comparison.entries
    assert comparison.places['mine'].keys() == places
    marked = {e.name for e in printed if e.mean is not None and 'mean' in e.unlike}
    assert marked == (
        set() if task == 'segmentation' else {e.name for e in printed if e.mean is not None}
    )
    clean = [e.clean for e in printed if e.clean is not None]
    better = sum(value > round(own.clean, 1) for value in clean)
    assert comparison.places['mine']['clean'] == (1 + better, 1 + len(clean))


@pytest.mark.parametrize(
    ('change', 'words'), [(dict(samples=20), 'the first result 20 of CityscapesDataset')]
)
def test_a_part_of_the_images_has_no_place(tmp_path, change, words):
    comparison = build_comparison([semsegbench(tmp_path, **change)], published=True)
    assert notice_with(comparison, words)
    assert comparison.places == {}


def test_protocols_are_not_mixed(tmp_path):
    theirs, ours = semsegbench(tmp_path), write_results(tmp_path / 'ours', name='ours')
    comparison = build_comparison([ours, theirs], published=True)
    assert 'mine' not in {name for name, ranks in comparison.ranks.items() if ranks}
    assert {e.publication for e in comparison.entries} == {
        '',
        'Zhou et al., 2022',
        'Guo et al., 2023',
    }


def test_no_published_models_of_a_dataset(tmp_path):
    path = semsegbench(tmp_path, dataset='LoveDADataset')
    with pytest.raises(InputError, match=r'no models on LoveDADataset.*CityscapesDataset'):
        build_comparison([path], published=True)


def test_published_rows_are_not_ranked_with_other_images_or_benchmarks(tmp_path):
    small = synthetic_results()
    small['dataset']['samples'] = 20
    other = synthetic_results()
    other['benchmark']['name'] = 'fan-official'
    for results, words in (
        (small, '500 images of Cityscapes validation'),
        (other, 'they use Cityscapes-C'),
    ):
        (tmp_path / 'results.json').write_text(json.dumps(results))
        comparison = build_comparison([tmp_path], published=True)
        assert notice_with(comparison, words)
        assert not any(comparison.ranks.get(e.name) for e in comparison.entries)


@pytest.mark.parametrize(('task', 'count'), [('detection', 12), ('classification', 35 + 2)])
def test_published_rows_of_other_tasks(tmp_path, task, count):
    comparison = build_comparison([write_results(tmp_path, task)], published=True)
    printed = [e for e in comparison.entries if e.published]
    for entry in comparison.entries:  # ImageNet-C's hold-outs are no group of these
        assert entry.groups.keys() == comparison.groups.keys()
    assert len(printed) == count
    if task == 'classification':
        xcit = next(e for e in printed if e.name == 'XCiT-S12')
        assert (xcit.clean, xcit.mean, xcit.mce) == (81.9, None, 51.5)


def test_a_result_named_like_a_published_model_is_not_taken_for_it(tmp_path):
    path = write_results(tmp_path, name='FAN-S-Hybrid')
    entries = build_comparison([path], published=True).entries
    assert entries[0].name == 'FAN-S-Hybrid'
    assert not entries[0].published
    names = [e.name for e in entries]
    assert 'FAN-S-Hybrid (published)' in names
    assert len(set(names)) == len(names)


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
    ('values', 'undefined'),
    [
        (dict(clean=None, corrupted=None, snow=None), ('mean', 'retention', 'worst')),
        (dict(clean=0.0), ('retention',)),
    ],
)
def test_what_is_complete_and_undefined_is_no_number_for_any_reader(tmp_path, values, undefined):
    folder = tmp_path / 'undefined'
    folder.mkdir()
    semsegbench(folder, **values)
    results = read_results(folder)
    for name in undefined:
        found = results['summary'][name]
        assert (found['value'], found['complete'], found['missing']) == (None, True, [])
    table = RobustnessTable(results)
    figures = {'severity_curves': new_figure(1, 1), 'groups': new_figure(1, 1)}
    for text in (report_page(table, figures, folder), report_markdown(table, []), cells_csv(table)):
        assert not re.search(r'\bnan\b|None', text)
    assert re.search('retention +undefined', summary_text(results))
    (entry, other) = build_comparison([folder, semsegbench(tmp_path)]).entries
    assert entry.retention is None and other.retention == pytest.approx(100 * 176 / 240)
