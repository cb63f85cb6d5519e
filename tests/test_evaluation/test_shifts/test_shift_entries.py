"""What results.json and per_image.npz hold of real conditions, besides the scores."""

import numpy as np
import pytest
from striped_results import failed, measured, shift_results

from fan_mm.evaluation.cells import CellRecord
from fan_mm.evaluation.results import PER_IMAGE
from fan_mm.evaluation.shifts.measured import Measured
from fan_mm.evaluation.shifts.pooling import CLEAN_COLUMN, POOLED, ShiftCell, pool
from fan_mm.evaluation.shifts.results import join
from fan_mm.evaluation.shifts.scores import SetInfo

COCO = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
FOG, SNOW = ShiftCell('acdc', 'fog'), ShiftCell('acdc', 'snow')


@pytest.mark.parametrize('clean', [measured(CLEAN_COLUMN, 0.9, total=9), None])
def test_the_dataset_is_that_of_the_clean_column(clean):
    results, arrays = shift_results(clean=None, more=[clean] if clean else ())
    found = [results['dataset'][name] for name in ('samples', 'total', 'sha256')]
    assert found == ([6, 9, clean.sha256] if clean else [None] * 3)
    assert ('sums/clean/clean' in arrays[PER_IMAGE]) == bool(clean)
    assert results['sets']['acdc']['pooled']['retention'] is None or clean


def test_other_scores_and_pictures_are_told_of_each_condition():
    fog = measured(FOG, 0.5)
    fog.record.metrics['aAcc'] = 80.0
    fog.record.images = [{'key': 'a/1', 'image': 'gallery/1.png', 'prediction': 'gallery/2.png'}]
    audit = {'checks': ['x'], 'findings': []}
    rest = [measured(CLEAN_COLUMN, 0.9, audit=audit), fog, failed(SNOW)]
    results, _ = shift_results(qualities={'night': 0.5}, clean=None, more=rest)
    assert results['metric']['others'] == ['aAcc']
    pictures = {'image': 'gallery/1.png', 'prediction': 'gallery/2.png'}
    assert results['gallery'] == [
        {'key': 'a/1', 'set': 'acdc', 'condition': 'fog', 'images': pictures}
    ]
    assert results['audit'] == {'checks': ['x'], 'findings': []}
    assert [cell['condition'] for cell in results['cells']] == ['night', 'clean', 'fog', 'snow']


@pytest.mark.parametrize(
    ('clean', 'settings'),
    [(True, None), (False, None), (True, {'iou_thrs': list(COCO)}), (True, {'iou_thrs': [0.5]})],
)
def test_draws_of_every_score_of_boxes(clean, settings):
    """Of the clean column, of each condition, and of all of these together."""
    pytest.importorskip('pycocotools')
    from coco_boxes import OVERLAPS, boxes

    from fan_mm.evaluation.matching import match

    cells = [ShiftCell('coco_o', name) for name in ('sketch', 'weather')]
    parts = []
    for seed, cell in enumerate([CLEAN_COLUMN] * clean + cells):
        names = np.array([f'{cell}/{i}' for i in range(4)])
        record = CellRecord('clean', 0, 'done', metrics={'bbox_mAP': 0.0, 'bbox_mAP_50': 0.0})
        statistics = {'bbox': match(*boxes(seed, 4), OVERLAPS)}
        known = dict(keys=names, scenes=names, statistics=statistics, settings=settings)
        parts.append(Measured(cell, record, 4, **known))
    of_cell = {part.cell: part.statistics for part in parts}
    scenes = {part.cell: part.scenes for part in parts}
    results, arrays = join(
        measured=parts,
        sets={'coco_o': SetInfo('COCO-O', 'val2017', effective=True)},
        task='detection',
        headline='bbox_mAP',
        model={},
        dataset={'classes': ['a', 'b', 'c']},
        protocol={},
        pooled=pool(of_cell, scenes, resamples=10),
    )
    entry = results['sets']['coco_o']
    assert str(arrays['kind']) == 'resampled' and list(entry['others']) == ['bbox_mAP_50']
    usual = settings is None or len(settings['iou_thrs']) == 10
    assert ('effective_robustness' in entry['mean_of_conditions']) == (clean and usual)
    assert all(cell['settings'] == settings for cell in results['cells'])
    assert 'effective_robustness' not in entry['others']['bbox_mAP_50']['mean_of_conditions']
    expected = pool(of_cell, scenes, resamples=10)
    columns = [*((cell, [cell]) for cell in scenes), (ShiftCell('coco_o', POOLED), cells)]
    for what, scores in (('draws', expected), ('bbox_mAP_50', expected.of('bbox_mAP_50'))):
        names = [f'{what}/{"/".join(cell)}' for cell, _ in columns]
        assert sorted(n for n in arrays if n.startswith(f'{what}/')) == sorted(names)
        for name, (_, members) in zip(names, columns, strict=True):
            assert np.array_equal(arrays[name], scores.drawn(members, range(3)), equal_nan=True)
    of_50 = entry['others']['bbox_mAP_50'][POOLED]['score']['value']
    assert (
        of_50 == expected.of('bbox_mAP_50').score(cells, range(3)) > entry[POOLED]['score']['value']
    )
