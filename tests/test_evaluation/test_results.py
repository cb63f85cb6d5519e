"""results.json and per_image.npz: written, read, compared."""

import json

import numpy as np
import pytest

from fan_mm.corruptions import BENCHMARKS, CORRUPTIONS
from fan_mm.errors import InputError
from fan_mm.evaluation import compare, read_per_image, read_results
from fan_mm.evaluation.bootstrap import PerImage
from fan_mm.evaluation.cells import CellRecord
from fan_mm.evaluation.results import build_results, write_results, write_with_arrays
from fan_mm.evaluation.scope import choose_scope

SCOPE = choose_scope(BENCHMARKS['imagenet-c'], ['fog', 'snow', 'spatter'], [1, 3])
IMAGES = 400


def sweep(quality, seed=0, scope=SCOPE, missing=(), images=IMAGES, task='classification'):
    """Results of an imagined model: each image has a difficulty, the same for every model."""
    difficulty = np.random.default_rng(42).random(images)
    noise = np.random.default_rng(seed)
    records, statistics = [], {}
    for cell in scope.cells:
        if cell in missing:
            records.append(CellRecord(*cell, status='failed', error='no memory'))
            continue
        right = difficulty + noise.normal(0, 0.02, images) < quality - 0.1 * cell.severity
        statistics[cell] = right[:, None, None]
        score = 100 * float(right.mean())
        records.append(
            CellRecord(*cell, status='done', metrics={'top1': score, 'top5': 99.0}, samples=images)
        )
    per_image = PerImage('accuracy', np.array([f'val/{i}' for i in range(images)]), statistics)
    results = build_results(
        scope=scope,
        records=records,
        task=task,
        headline='top1',
        model={'name': 'imagined'},
        dataset={'type': 'ImageNet', 'samples': images, 'classes': ['a', 'b'], 'palette': None},
        protocol={'seed': 0},
        per_image=per_image,
        summarized=['top5'] if task == 'detection' else [],
    )
    return results, per_image


def written(folder, *args, **kwargs):
    write_results(folder, *sweep(*args, **kwargs))
    return folder


def test_the_folder_above_is_no_result(tmp_path):
    with pytest.raises(InputError, match=r'cannot read .*results.json: No such file or directory$'):
        read_results(tmp_path)
    (tmp_path / 'robustness').mkdir()
    written(tmp_path / 'robustness', 0.9)
    with pytest.raises(InputError, match=r'did you mean .*robustness'):
        read_results(tmp_path)


def test_what_is_written_is_read(tmp_path):
    results, per_image = sweep(0.9)
    path = write_results(tmp_path, results, per_image)
    assert read_results(path) == read_results(tmp_path) == json.loads(json.dumps(results))
    again = read_per_image(tmp_path)
    assert again.kind == 'accuracy'
    assert np.array_equal(again.keys, per_image.keys)
    assert list(again.cells) == list(per_image.cells)
    for cell, statistics in per_image.cells.items():
        assert np.array_equal(again.cells[cell], statistics)


def test_arrays_of_an_earlier_sweep_do_not_stay_and_the_others_are_written(tmp_path):
    (tmp_path / 'old.npz').write_bytes(b'of a sweep before')
    write_with_arrays(tmp_path, {'a': 1}, {'old.npz': None, 'new.npz': [('values', np.arange(3))]})
    assert sorted(file.name for file in tmp_path.iterdir()) == ['new.npz', 'results.json']
    assert np.load(tmp_path / 'new.npz')['values'].tolist() == [0, 1, 2]


def test_contents():
    results, _ = sweep(0.9)
    assert (results['schema'], results['kind']) == ('fan_mm.robustness/2', 'corruptions')
    assert results['benchmark']['name'] == 'imagenet-c-subset'
    assert results['benchmark']['severities'] == {'snow': [1, 3], 'fog': [1, 3]}
    assert results['benchmark']['hold_outs'] == ['spatter']
    assert results['metric']['name'] == 'top1'
    assert results['metric']['others'] == ['top5']
    assert [c['corruption'] for c in results['cells'][:2]] == ['clean', 'snow']
    low, high = results['summary']['mean']['interval']
    assert low < results['summary']['mean']['value'] < high
    assert results['bootstrap'] == {'resamples': 1000, 'level': 0.95}


def test_incomplete_sweeps_say_so():
    missing = SCOPE.cells[2]
    results, _ = sweep(0.9, missing=[missing])
    assert results['summary']['mean']['value'] is None
    assert results['summary']['mean']['missing'] == [str(missing)]
    (cell,) = [c for c in results['cells'] if c['status'] == 'failed']
    assert cell['error'] == 'no memory'
    assert cell['metrics'] == {}


def test_another_model_is_told_from_the_same_one(tmp_path):
    first = written(tmp_path / 'a', 0.9, seed=1)
    better = written(tmp_path / 'b', 0.95, seed=2)
    again = written(tmp_path / 'c', 0.9, seed=3)
    found = compare(first, better)
    assert set(found) == {'clean', 'mean', 'retention', 'worst'}
    assert found['mean']['difference'] == pytest.approx(
        read_results(better)['summary']['mean']['value']
        - read_results(first)['summary']['mean']['value']
    )
    assert found['mean']['significant']
    assert found['mean']['interval'][0] > 0
    assert not compare(first, again)['mean']['significant']
    assert compare(first, first)['mean']['interval'] == [0, 0]


@pytest.mark.parametrize(
    ('benchmark', 'task', 'more'),
    [
        ('imagenet-c', 'classification', {'mean_16', 'retention_16'}),
        ('coco-c', 'detection', {'mPC_15', 'rPC_15'}),
    ],
)
def test_figures_over_hold_outs_are_compared(tmp_path, benchmark, task, more):
    scope = choose_scope(BENCHMARKS[benchmark], CORRUPTIONS)
    options = dict(scope=scope, task=task, images=50)
    first = written(tmp_path / 'a', 0.9, seed=1, **options)
    second = written(tmp_path / 'b', 0.95, seed=2, **options)
    summaries = [read_results(path)['summary'] for path in (first, second)]
    found = compare(first, second)
    others = {f'{of}_top5' for of in ('clean', 'mean', 'retention') if task == 'detection'}
    assert found.keys() - others == summaries[0].keys() - {'corruptions', 'groups'}
    assert others <= found.keys()
    assert found.keys() >= more
    for name in more:
        a, b = (summary[name]['value'] for summary in summaries)
        assert found[name]['difference'] == pytest.approx(b - a)
        assert found[name]['interval'][0] <= b - a <= found[name]['interval'][1]


@pytest.mark.parametrize('known', [2, 1, 0])
def test_other_scores_are_compared_with_draws_of_their_own(tmp_path, known):
    """Where both stored them; a score that one of the two lacks is not compared."""
    drawn = np.linspace(-1, 3, 1000)
    for which, name in enumerate('ab'):
        results, per_image = sweep(0.9, task='detection')
        if not which:
            top5 = results['other_summaries']
            results['other_summaries'] = {'gone': top5['top5'], **top5}
        others = dict.fromkeys(per_image.cells, which * drawn)
        stored = PerImage(
            *('resampled', per_image.keys, per_image.resampled()),
            {'top5': others} if which < known else {},
        )
        write_results(tmp_path / name, results, stored)
    found = compare(tmp_path / 'a', tmp_path / 'b')
    assert not any('gone' in name for name in found)
    for name in ('clean_top5', 'mean_top5'):
        assert found[name]['difference'] == 0
        bounds = found[name]['interval']
        wanted = [float(q) for q in np.quantile(drawn, [0.025, 0.975])] if known == 2 else None
        assert bounds == (wanted and pytest.approx(wanted))
    assert found['mean']['interval'] == [0, 0]


def test_pairing_narrows_the_interval(tmp_path):
    """Most of the variation between draws is images that are hard for both models."""
    first, second = written(tmp_path / 'a', 0.9, seed=1), written(tmp_path / 'b', 0.93, seed=2)
    paired = compare(first, second)['mean']['interval']
    alone = read_results(first)['summary']['mean']['interval']
    assert paired[1] - paired[0] < 0.7 * (alone[1] - alone[0])


@pytest.mark.parametrize('scaled', [(True, False), (False, True), (True, True)])
def test_calibration_is_compared_where_both_have_it(tmp_path, scaled):
    results = [sweep(0.9)[0], sweep(0.95)[0]]
    for which, (one, both) in enumerate(zip(results, scaled, strict=True)):
        variants = ('plain', 'scaled') if both else ('plain',)
        one['calibration'] = {'summary': dict.fromkeys(variants)}
        for cell in one['cells']:
            value = cell['severity'] * (1 + which)
            measures = {name: {'value': value} for name in ('ECE', 'NLL', 'Brier')}
            cell['calibration'] = dict.fromkeys(variants, measures)
        (tmp_path / str(which)).mkdir()
        (tmp_path / str(which) / 'results.json').write_text(json.dumps(one))
    found = compare(tmp_path / '0', tmp_path / '1')
    assert (found['mean_ECE']['difference'], found['clean_NLL']['difference']) == (2, 0)
    assert ('mean_Brier_scaled' in found) == all(scaled)


def test_without_the_same_images_there_is_no_interval(tmp_path):
    first, second = written(tmp_path / 'a', 0.9), written(tmp_path / 'b', 0.95, images=300)
    found = compare(first, second)['mean']
    assert found['difference'] > 0
    assert found['interval'] is None
    assert found['significant'] is None


def test_no_difference_to_an_incomplete_sweep(tmp_path):
    first = written(tmp_path / 'a', 0.9)
    second = written(tmp_path / 'b', 0.95, missing=[SCOPE.cells[1]])
    found = compare(first, second)
    assert found['mean'] == {'difference': None, 'interval': None, 'significant': None}
    assert found['clean']['significant']


def test_other_benchmarks_are_not_compared(tmp_path):
    other = choose_scope(BENCHMARKS['imagenet-c'], ['fog'])
    first, second = written(tmp_path / 'a', 0.9), written(tmp_path / 'b', 0.9, scope=other)
    with pytest.raises(InputError, match='their benchmark differs'):
        compare(first, second)
    third = written(tmp_path / 'c', 0.9, task='detection')
    with pytest.raises(InputError, match='their task differs'):
        compare(first, third)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'cannot read'),
        ('{', 'not JSON'),
        ('{"schema": "x/2"}', "schema 'x/2'"),
        ('[]', 'None'),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / 'results.json').write_text(content)
    with pytest.raises(InputError, match=message):
        read_results(tmp_path)


def test_version_1_is_read(tmp_path):
    results, _ = sweep(0.9)
    old = {name: value for name, value in results.items() if name != 'kind'}
    (tmp_path / 'results.json').write_text(json.dumps(old | {'schema': 'fan_mm.robustness/1'}))
    assert read_results(tmp_path)['kind'] == 'corruptions'
    assert read_results(tmp_path, 'corruptions')['summary'] == results['summary']


def test_the_other_kind_is_refused(tmp_path):
    write_results(tmp_path, *sweep(0.9))
    with pytest.raises(
        InputError, match=r'on a sweep over corruptions, but results on real adverse conditions'
    ):
        read_results(tmp_path, 'shifts')


def test_damaged_statistics_are_one_line(tmp_path):
    write_results(tmp_path, *sweep(0.9))
    path = tmp_path / 'per_image.npz'
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r'per_image\.npz is damaged'):
        read_per_image(tmp_path)
    np.savez(path, kind='iou', keys=['a'], fog=[1])  # no severity
    with pytest.raises(InputError, match=r'per_image\.npz is damaged'):
        read_per_image(tmp_path)


@pytest.mark.parametrize(
    ('change', 'line'),
    [
        (
            {'seed': 1},
            r'per_image\.npz belongs to another protocol than the results .*seed 0 instead of 1',
        ),
        ({'protocol': 'coco-c'}, 'name imagenet-c-subset instead of coco-c'),
        ({'created': 'today'}, None),
    ],
)
def test_statistics_are_of_the_protocol_of_the_results_beside_them(tmp_path, change, line):
    results = read_results(written(tmp_path, 0.9))
    (tmp_path / 'results.json').write_text(json.dumps(results | change))
    if line is None:
        assert read_per_image(tmp_path).kind == 'accuracy'
        return
    for path in (tmp_path, tmp_path / 'results.json'):
        with pytest.raises(InputError, match=line):
            read_per_image(path)
    with np.load(tmp_path / 'per_image.npz') as stored:
        arrays = {name: stored[name] for name in stored.files}
    assert json.loads(str(arrays.pop('protocol')))['name'] == 'imagenet-c-subset'
    np.savez_compressed(tmp_path / 'per_image.npz', **arrays)  # as earlier versions wrote them
    assert read_per_image(tmp_path).kind == 'accuracy'


def test_stale_statistics_are_removed(tmp_path):
    results, per_image = sweep(0.9)
    write_results(tmp_path, results, per_image)
    write_results(tmp_path, results, None)
    assert read_per_image(tmp_path) is None
