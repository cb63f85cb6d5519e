"""Results on real adverse conditions, made up: what reports and comparisons are shown."""

import dataclasses

import numpy as np
import torch

from fan_mm.evaluation.calibration.measures import sums_of_labels
from fan_mm.evaluation.calibration.of_shifts import add_calibration
from fan_mm.evaluation.cells import CellRecord
from fan_mm.evaluation.results import CALIBRATION, PER_IMAGE, write_with_arrays
from fan_mm.evaluation.shifts.measured import Measured
from fan_mm.evaluation.shifts.pooling import CLEAN_COLUMN, ShiftCell
from fan_mm.evaluation.shifts.results import join
from fan_mm.evaluation.shifts.scores import SetInfo

CLASSES = ['road', 'person', 'car', 'train']
ACDC = SetInfo(
    'ACDC',
    'val',
    weather={'fog': 'fog', 'night': 'night', 'snow': 'snow'},
    told={'protocol': 'pooled', 'source': 'a paper', 'encodings': ['train_ids'], 'folder': 'data'},
)


def measured(cell, quality, images=6, seed=0, absent=(), predicted=(), scenes=None, **changes):
    """A condition whose IoUs are about ``quality``; classes that no label has, though some are predicted."""
    rng = np.random.default_rng([seed, *map(ord, '/'.join(cell))])
    union = rng.integers(800, 1200, (images, len(CLASSES)))
    hit = (union * quality * rng.uniform(0.9, 1.1, union.shape)).astype(np.int64).clip(0, union)
    truth = (hit + union) // 2
    for index in absent:
        hit[:, index] = truth[:, index] = 0
        union[:, index] = 50 if index in predicted else 0
    statistics = np.stack([hit, union], 1).astype(np.uint32)
    sums = statistics.sum(0, dtype=np.float64)
    occurs = sums[1] > 0
    iou = 100 * sums[0] / np.maximum(sums[1], 1)
    per_class = {
        'IoU': {c: float(v) if o else None for c, v, o in zip(CLASSES, iou, occurs, strict=True)},
        'Acc': {
            c: None if i in absent else 100 * float(sums[0, i] / truth[:, i].sum())
            for i, c in enumerate(CLASSES)
        },
    }
    record = CellRecord(
        *('clean', 0, 'done'),
        metrics={'mIoU': round(float(iou[occurs].mean()), 2)},
        per_class=per_class,
        samples=images,
        seconds=1.0,
    )
    names = np.array([f'{cell.condition}/{i}' for i in range(images)])
    found = dict(
        cell=cell,
        record=record,
        total=images,
        keys=names,
        scenes=names if scenes is None else np.array(scenes),
        statistics=statistics,
        sha256=f'{"/".join(cell)} {images}',
    )
    return Measured(**found | changes)


def failed(cell):
    record = CellRecord('clean', 0, 'failed', error='RuntimeError: no snow')
    return Measured(cell, record, total=6)


def calibrated(measured, temperatures=(1.0, 2.0), sharpness=3.0):
    """The same with the calibration of 40 made-up samples of each picture; the sharper, the surer."""
    sums = []
    for key in measured.keys:
        generator = torch.Generator().manual_seed(sum(map(ord, str(key))))
        logits = torch.randn(40, 5, generator=generator)
        labels = torch.multinomial((1.5 * logits).softmax(1), 1, generator=generator)[:, 0]
        sums.append(sums_of_labels((sharpness * logits).softmax(1), labels, temperatures).sum(0))
    return dataclasses.replace(measured, calibration=np.stack(sums))


def shift_results(
    qualities=None,
    clean=0.9,
    seed=0,
    name='model',
    checkpoint='a' * 64,
    more=(),
    sets=None,
    sharpness=None,
):
    """(results, arrays by file) of ACDC with some conditions, and of whatever ``more`` is.

    With a sharpness of the logits also their calibration, plain and with a temperature.
    """
    qualities = qualities or {'fog': 0.7, 'night': 0.4, 'snow': 0.6}
    parts = [measured(CLEAN_COLUMN, clean, seed=seed)] if clean else []
    parts += [measured(ShiftCell('acdc', c), q, seed=seed) for c, q in qualities.items()]
    parts += more
    if sharpness:
        parts = [m if m.keys is None else calibrated(m, sharpness=sharpness) for m in parts]
    results, arrays = join(
        measured=parts,
        sets={'acdc': ACDC, **(sets or {})},
        task='segmentation',
        headline='mIoU',
        model={
            'name': name,
            'config': 'c.py',
            'checkpoint': 'w.pth',
            'config_sha256': 'c',
            'checkpoint_sha256': checkpoint,
        },
        dataset={
            'type': 'CityscapesDataset',
            'classes': CLASSES,
            'palette': [[i, i, i] for i in range(len(CLASSES))],
        },
        protocol={'max_samples': None},
    )
    sums = None
    if sharpness:
        temperature = {'value': 2.0, 'pictures': 9, 'samples': 99, 'nll': [0.9, 0.8]}
        results['calibration'] = {
            'bins': 15,
            'probabilities': 'softmax of the logits',
            'variants': ['plain', 'scaled'],
            'temperature': temperature,
        }
        sums = add_calibration(results, parts, ('plain', 'scaled'))
    return results, {PER_IMAGE: arrays, CALIBRATION: sums}


def written(folder, **options):
    """The folder of such results."""
    folder.mkdir()
    results, arrays = shift_results(**options)
    write_with_arrays(folder, results, {n: a and a.items() for n, a in arrays.items()})
    return folder
