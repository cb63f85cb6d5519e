"""Results of a detector on real conditions, of boxes and masks by chance."""

import numpy as np
from coco_boxes import OVERLAPS, boxes

from fan_mm.evaluation.average_precision import mean_ap
from fan_mm.evaluation.cells import CellRecord
from fan_mm.evaluation.matching import match
from fan_mm.evaluation.results import PER_IMAGE, write_with_arrays
from fan_mm.evaluation.shifts.measured import Measured
from fan_mm.evaluation.shifts.pooling import CLEAN_COLUMN, ShiftCell
from fan_mm.evaluation.shifts.results import join
from fan_mm.evaluation.shifts.scores import SetInfo

CELLS = (CLEAN_COLUMN, ShiftCell('coco_o', 'sketch'), ShiftCell('coco_o', 'weather'))
CLASSES = ['cat', 'dog', 'emu']


def measured(cell, number, better):
    """A condition of eight pictures; of a better model the detections that are right are surer."""
    truth, results, categories = boxes(number, 8)
    if better:
        for result in results:
            right = np.arange(len(result['scores'])) < 6
            result['scores'] = np.where(right, 0.9, 0.1 * result['scores']).astype(np.float32)
    matches = {kind: match(truth, results, categories, OVERLAPS, kind) for kind in ('bbox', 'segm')}
    found = {
        f'{kind}_{name}': None if np.isnan(value := mean_ap(aps[None])[0]) else round(value, 1)
        for kind, one in matches.items()
        for name, aps in one.per_class().items()
    }
    record = CellRecord(
        'clean', 0, 'done', metrics={**found, 'AR@100': 33.3}, samples=8, seconds=1.0
    )
    names = np.array([f'{cell}/{i}' for i in range(8)])
    return Measured(cell, record, 8, (), names, names, matches, sha256=str(cell))


def box_results(name='model', better=False, info=None):
    """(results, arrays of per_image.npz)."""
    return join(
        measured=[measured(cell, number, better) for number, cell in enumerate(CELLS)],
        sets={'coco_o': info or SetInfo('COCO-O', 'val2017', effective=True)},
        task='detection',
        headline='bbox_mAP',
        model={
            'name': name,
            'config': 'c.py',
            'checkpoint': 'w.pth',
            'config_sha256': 'c',
            'checkpoint_sha256': 'w',
        },
        dataset={'type': 'CocoDataset', 'classes': CLASSES, 'palette': None},
        protocol={'max_samples': None},
    )


def write(folder, **options):
    """Write them; returns the folder."""
    results, arrays = box_results(**options)
    folder.mkdir()
    write_with_arrays(folder, results, {PER_IMAGE: arrays.items()})
    return folder
