"""Pictures of several conditions together: drawn alike, and the same as evaluated in one go."""

from types import SimpleNamespace

import numpy as np
import pytest
from striped_results import measured, shift_results

from fan_mm.evaluation.average_precision import average_precisions, mean_ap, together
from fan_mm.evaluation.matching import match
from fan_mm.evaluation.results import PER_IMAGE, read_arrays, read_results, write_with_arrays
from fan_mm.evaluation.shifts.measured import arrays_of
from fan_mm.evaluation.shifts.pooling import (
    CLEAN_COLUMN,
    POOLED,
    ShiftCell,
    by_cell,
    drawn_alike,
    pool,
    strata,
)

FOG, NIGHT, SNOW = (ShiftCell('acdc', name) for name in ('fog', 'night', 'snow'))


def drawn(statistics, scenes, cell=FOG):
    return pool(statistics, scenes).drawn([cell], [0])


def test_what_shows_the_same_scenes_is_drawn_together():
    cells = [ShiftCell('foggy', name) for name in 'abc']
    scenes = {
        cells[0]: np.array(['1', '2']),
        cells[1]: np.array(['3', '4']),
        cells[2]: np.array(['5', '1']),
        CLEAN_COLUMN: np.array(['9']),
    }
    assert [str(cell) for cell in scenes] == ['foggy/a', 'foggy/b', 'foggy/c', 'clean']
    groups = {frozenset(group) for group in strata(scenes)}
    assert groups == {frozenset(cells[::2]), frozenset([cells[1]]), frozenset([CLEAN_COLUMN])}


def test_pairs_of_scenes_move_together():
    """Twice the same scenes, of which one is half as good: their ratio does not move at all."""
    statistics = np.zeros((5, 2, 1), np.uint32)
    statistics[:, 0, 0], statistics[:, 1, 0] = [10, 20, 30, 40, 50], 100
    half = statistics.copy()
    half[:, 0] //= 2
    sums = {FOG: half, CLEAN_COLUMN: statistics}
    same = dict.fromkeys(sums, np.arange(5).astype(str))
    assert np.allclose(drawn(sums, same) / drawn(sums, same, CLEAN_COLUMN), 0.5)
    others = {FOG: np.arange(5).astype(str), CLEAN_COLUMN: np.arange(5, 10).astype(str)}
    assert np.std(drawn(sums, others) / drawn(sums, others, CLEAN_COLUMN)) > 0.01


def test_nine_pictures_of_one_scene_are_one():
    """Their interval is not that of as many independent pictures."""
    rng = np.random.default_rng(0)
    scene = np.repeat(rng.integers(10, 90, 4), 9)
    statistics = np.stack([scene, np.full(36, 100)], 1)[..., None].astype(np.uint32)
    names = np.repeat(list('abcd'), 9)
    together = drawn({FOG: statistics}, {FOG: names})
    apart = drawn({FOG: statistics}, {FOG: np.arange(36).astype(str)})
    assert np.std(together) > 2 * np.std(apart)


def test_what_has_one_scene_has_no_resamples():
    """Nor has what it is pooled with; three fogs of one street are one scene."""
    sums = np.stack([np.full((3, 1), 5), np.full((3, 1), 10)], 1).astype(np.uint32)
    scenes = {FOG: np.array(['street'] * 3), NIGHT: np.array(list('abb'))}
    pooled = pool({FOG: sums, NIGHT: sums}, scenes, resamples=20)
    assert np.isnan(pooled.drawn([FOG], [0])).all() and len(pooled.drawn([NIGHT], [0])) == 20
    assert np.isnan(pooled.drawn([FOG, NIGHT], [0])).all()
    assert (pooled.drawn([NIGHT], [0]) == 50).all()
    assert pooled.score([FOG, NIGHT], [0]) == 50


def test_written_and_read(tmp_path):
    results, arrays = shift_results()
    write_with_arrays(tmp_path, results, {n: a and a.items() for n, a in arrays.items()})
    assert read_results(tmp_path) == results
    arrays = read_arrays(tmp_path)
    sums, keys, scenes = (by_cell(arrays, what) for what in ('sums', 'keys', 'scenes'))
    assert list(sums) == list(keys) == list(scenes) == [CLEAN_COLUMN, FOG, NIGHT, SNOW]
    assert np.array_equal(sums[FOG], measured(FOG, 0.7).statistics)


def test_boxes_of_conditions_together():
    """Each condition is drawn for itself, and the pooled score is of both draws."""
    pytest.importorskip('pycocotools')
    from coco_boxes import OVERLAPS, boxes

    parts = {
        cell: {kind: match(*boxes(seed, 8), OVERLAPS, kind) for kind in ('bbox', 'segm')}
        for seed, cell in enumerate((FOG, NIGHT))
    }
    scenes = {cell: np.array([f'{cell}/{i}' for i in range(8)]) for cell in parts}
    pooled = pool(parts, scenes, resamples=20)
    single = [pooled.drawn([cell], range(3)) for cell in parts]
    both = pooled.drawn([FOG, NIGHT], range(3))
    assert abs(np.corrcoef(*single)[0, 1]) < 0.7 and np.corrcoef(sum(single), both)[0, 1] > 0.8
    assert pooled.score([FOG], [0]) == pooled.per_class([FOG])[0] != pooled.score([FOG], [0, 1])
    assert mean_ap(pooled.per_class([FOG])[None])[0] == pooled.score([FOG], range(3))
    assert np.isnan(pooled.score([FOG], [2]))  # has no objects
    # other scores are of the same draws
    masks = pooled.of('segm_mAP_50')
    joined = together([parts[cell]['segm'] for cell in (FOG, NIGHT)])
    assert np.array_equal(masks.per_class([FOG, NIGHT])[:2], joined.per_class()['mAP_50'][:2])
    counts = np.concatenate([pooled.counts[cell] for cell in parts], axis=1)
    expected = mean_ap(average_precisions(joined, counts)['mAP_50'])
    assert np.array_equal(masks.drawn([FOG, NIGHT], range(3)), expected)
    assert FOG in masks and FOG not in pooled.of('AR@100') and pooled.metric == 'bbox_mAP'
    del parts[NIGHT]['segm']
    pooled = pool(parts, scenes, resamples=2)
    assert NIGHT in pooled and NIGHT not in pooled.of('segm_mAP')


@pytest.mark.parametrize('change', [None, 'scene', 'picture'])
def test_stored_draws_are_paired_where_they_are_of_the_same_scenes(change):
    pytest.importorskip('pycocotools')
    from coco_boxes import OVERLAPS, boxes

    files = []
    for model in range(2):
        parts = {
            cell: {'bbox': match(*boxes(model, 5), OVERLAPS)} for cell in (FOG, NIGHT, CLEAN_COLUMN)
        }
        names = {cell: np.array([f'{cell}/{i}' for i in range(5)]) for cell in parts}
        scenes, keys = dict(names), dict(names)
        if model and change:
            changed = scenes if change == 'scene' else keys
            changed[NIGHT] = np.array(list('abcde'))
        pooled = pool(parts, scenes, resamples=6)
        draws = {cell: pooled.drawn([cell], range(3)) for cell in parts}
        draws[ShiftCell('acdc', POOLED)] = pooled.drawn([FOG, NIGHT], range(3))
        cells = [SimpleNamespace(cell=c, keys=keys[c], scenes=scenes[c]) for c in parts]
        files.append(arrays_of('resampled', cells, draws))
        files[-1] |= {f'bbox_mAP_50/{"/".join(cell)}': 2 * drawn for cell, drawn in draws.items()}
    for arrays, found in zip(files, drawn_alike(*files), strict=True):
        assert np.array_equal(found.drawn([FOG], range(3)), arrays['draws/acdc/fog'])
        assert CLEAN_COLUMN in found
        both = found.drawn([FOG, NIGHT], range(3))
        if change:
            assert NIGHT not in found and both is None
        else:
            assert np.array_equal(both, arrays['draws/acdc/pooled'])
    for arrays, found in zip(files, drawn_alike(*files, 'bbox_mAP_50'), strict=True):
        assert np.array_equal(found.drawn([FOG], range(3)), 2 * arrays['draws/acdc/fog'])
    assert drawn_alike(files[0], None) is None
    sums = shift_results()[1][PER_IMAGE]
    assert drawn_alike(sums, sums) and drawn_alike(sums, sums, 'mAcc') is None
    fewer = {name: array for name, array in sums.items() if not name.endswith('/night')}
    for pair in ((sums, fewer), (fewer, sums)):
        assert all(
            list(side.statistics) == [CLEAN_COLUMN, FOG, SNOW] for side in drawn_alike(*pair)
        )
    assert drawn_alike(files[0], shift_results()[1][PER_IMAGE]) is None
