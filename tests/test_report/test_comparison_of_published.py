"""Published models beside one's own: whose ranks they join, and which place a result takes among them."""

import json

import numpy as np
import pytest
from report_checks import notice_with
from synthetic_results import semsegbench, synthetic_results, write_results

from fan_mm.corruptions import BENCHMARKS
from fan_mm.errors import InputError
from fan_mm.evaluation.semsegbench import rows
from fan_mm.report.comparison import build_comparison


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


@pytest.mark.parametrize(
    ('task', 'settings', 'names'),
    [
        ('segmentation', {'ignore_index': 255.0, 'nan_to_num': None, 'beta': 2.0}, None),
        ('segmentation', {'ignore_index': 0.0, 'nan_to_num': None}, 'ignore_index'),
        ('segmentation', {'ignore_index': 255.0, 'nan_to_num': 0.0}, 'nan_to_num'),
        ('classification', {'thrs': [0.0]}, None),
        ('classification', {'thrs': [None]}, None),
        ('classification', {'thrs': [0.5]}, 'thrs'),
    ],
)
def test_other_settings_than_those_of_published_ones(tmp_path, task, settings, names):
    results = synthetic_results(task, name='mine')
    results['metric']['settings'] = settings
    (tmp_path / 'results.json').write_text(json.dumps(results))
    comparison = build_comparison([tmp_path], published=True)
    words = f'the metric of the first result has other settings than theirs ({names}).'
    assert bool(notice_with(comparison, words)) == bool(names) != bool(comparison.places)


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


def test_a_part_of_semsegbench_is_shown_beside_its_models_without_a_place(tmp_path):
    file = semsegbench(tmp_path) / 'results.json'
    results = json.loads(file.read_text())
    results['benchmark']['name'] = 'semsegbench-subset'
    file.write_text(json.dumps(results))
    comparison = build_comparison([tmp_path], published=True)
    assert sum(bool(e.published) for e in comparison.entries) == 32
    assert notice_with(comparison, 'not ranked with the results: they use SemSegBench')
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
