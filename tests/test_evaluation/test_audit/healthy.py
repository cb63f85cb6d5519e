"""Facts of a healthy sweep, drawn from a model of how scores fall, for three tasks."""

import dataclasses

import numpy as np

from fan_mm.corruptions import BENCHMARKS
from fan_mm.evaluation.audit import Facts
from fan_mm.evaluation.bootstrap import PerImage
from fan_mm.evaluation.cells import CLEAN, Cell, CellRecord

CLASSES = {'segmentation': 19, 'detection': 8, 'classification': 10}
HEADLINE = {'segmentation': 'mIoU', 'detection': 'bbox_mAP', 'classification': 'top1'}


def healthy(task='segmentation', seed=0, images=32, benchmark='all'):
    """Facts with evidence of every kind, in which nothing is wrong."""
    rng = np.random.default_rng(seed)
    severities = BENCHMARKS[benchmark].severities
    cells = [CLEAN, *(Cell(name, s) for name, levels in severities.items() for s in levels)]
    frailty = {name: rng.uniform(0.05, 0.95) for name in severities}
    classes = CLASSES[task]
    share = rng.dirichlet(np.full(classes, 2.0))
    quality = rng.uniform(0.5, 0.98, classes)
    pictures = rng.normal(0, 0.05, (images, 1))
    records, statistics = [], {}
    for cell in cells:
        kept = 1 - frailty.get(cell.corruption, 0) * (cell.severity / 5) ** rng.uniform(0.7, 1.3)
        right = np.clip(quality * kept + pictures, 0.001, 0.999)
        if task == 'segmentation':
            truth = rng.multinomial(8000, share, images)
            hits = rng.binomial(truth, right)
            union = truth + rng.binomial(truth, 1 - right)
            statistics[cell] = np.stack([hits, union], axis=1).astype(np.uint32)
            per_class = 100 * hits.sum(0) / union.sum(0)
        elif task == 'classification':
            statistics[cell] = rng.random((images, 1, 1)) < right.mean(1)[:, None, None]
            per_class = np.full(classes, 100 * statistics[cell].mean())
        else:
            per_class = 60 * np.clip(right.mean(0) + rng.normal(0, 0.02, classes), 0, 1).round(3)
        score = round(float(per_class.mean()), 2)
        name = {'segmentation': 'IoU', 'detection': 'bbox_mAP'}.get(task, 'Acc')
        records.append(
            CellRecord(
                *cell,
                status='done',
                metrics={HEADLINE[task]: score},
                per_class={name: {f'c{i}': float(v) for i, v in enumerate(per_class)}},
                samples=images,
                seconds=float(rng.lognormal(2, 1)),  # of a busy machine
                evidence=evidence(rng, share, kept, images, cell == CLEAN),
            )
        )
    kind = {'segmentation': 'iou', 'classification': 'accuracy'}.get(task)
    keys = np.array([f'picture {i}' for i in range(images)])
    return Facts(
        records,
        task,
        HEADLINE[task],
        [f'c{i}' for i in range(classes)],
        PerImage(kind, keys, statistics) if kind else None,
    )


def evidence(rng, share, kept, images, clean):
    """What is seen of a cell. Under hard corruptions the first class spreads."""
    total = 100 * images
    spread = share * kept
    spread[0] += 1 - spread.sum()
    seen = {
        'pictures': rng.bytes(8).hex(),
        'scores': rng.bytes(8).hex(),
        'distinct': images,
        'blank': 0,
        'waited': float(rng.lognormal(0, 1)),
        'most': [int(spread.argmax()), int(total * spread.max()), total],
    }
    if clean:
        truth = (total * share).astype(int) + 1
        taken = [[i, int(0.8 * n)] for i, n in enumerate(truth)]
        weak = int(share.argmin())  # swallowed by the largest class, as riders are by persons
        taken[weak] = [int(share.argmax()), int(0.7 * truth[weak])]
        seen |= {
            'truth': truth.tolist(),
            'predicted': truth[::-1].tolist() if len(share) < 9 else truth.tolist(),
            'taken_for': taken,
            'outside': [],
            'ignored': int(0.3 * truth.sum()),
            'labels': int(1.3 * truth.sum()),
        }
    return seen


def changed(facts, change, **others):
    """The same facts with each record changed by a function that may return None to leave it out."""
    records = [change(dataclasses.replace(r, evidence=dict(r.evidence))) for r in facts.records]
    return dataclasses.replace(facts, records=[r for r in records if r is not None], **others)
