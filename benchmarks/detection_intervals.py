"""What intervals of a detector's scores cost in a cell, beside pycocotools' evaluation of the same cell.

    python benchmarks/detection_intervals.py --images 500

Uses random boxes with the statistics of COCO val2017 (7.3 objects of 80 classes per image, 100 detections, some of
which match), and measures the CPU time of the matching, of the resamples of all six scores and of ``COCOeval``, and
the size of the stored data. --images 5000 is the size of COCO val2017; pycocotools alone then takes minutes.
"""

import contextlib
import io
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.console import Console
from rich.table import Table

from fan_mm.cli import run, tool_parser
from fan_mm.evaluation.bootstrap import RESAMPLES
from fan_mm.evaluation.matching import match

CLASSES, OBJECTS, DETECTIONS = 80, 7.3, 100
OVERLAPS = np.linspace(0.5, 0.95, 10)


def cell(images: int) -> tuple[COCO, list[dict], list[int]]:
    """Objects and detections of some images, and the ids of the classes."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(2, CLASSES + 2)
    annotations: list[dict] = []
    results = []
    for image in range(1, images + 1):
        present = rng.choice(CLASSES, 3, replace=False, p=share / share.sum())
        number = rng.poisson(OBJECTS)
        labels, corners = rng.choice(present, number), rng.uniform(0, 400, (number, 2))
        sizes = np.exp(rng.normal(4, 0.9, (number, 2)))
        for label, corner, size in zip(labels, corners, sizes, strict=True):
            box = [*corner.tolist(), *size.tolist()]
            entry = dict(id=len(annotations) + 1, image_id=image, category_id=int(label) + 1)
            annotations.append({**entry, 'bbox': box, 'area': box[2] * box[3], 'iscrowd': 0})
        hits = rng.integers(0, max(number, 1), 3 * number)
        shift = rng.normal(0, 0.08, (len(hits), 4)) * np.tile(sizes, 2)[hits]
        near = np.concatenate([corners, corners + sizes], 1)[hits] + shift
        near = near[:DETECTIONS]
        more = DETECTIONS - len(near)
        other = rng.uniform(0, 400, (more, 2))
        other = np.concatenate([other, other + np.exp(rng.normal(4, 0.9, (more, 2)))], 1)
        beside = np.where(
            rng.random(more) < 0.5, rng.choice(present, more), rng.integers(0, CLASSES, more)
        )
        results.append(
            dict(
                img_id=image,
                bboxes=np.concatenate([near, other]).astype(np.float32),
                scores=np.concatenate([rng.beta(2, 2, len(near)), rng.beta(1, 8, more)]).astype(
                    np.float32
                ),
                labels=np.concatenate([labels[hits][: len(near)], beside]),
            )
        )
    truth = COCO()
    truth.dataset = dict(
        images=[dict(id=i + 1) for i in range(images)],
        annotations=annotations,
        categories=[dict(id=k + 1, name=str(k)) for k in range(CLASSES)],
    )
    truth.createIndex()
    return truth, results, list(range(1, CLASSES + 1))


def pycocotools(truth: COCO, results: list[dict], categories: list[int]) -> Any:
    """Its evaluation."""
    detections = [
        dict(
            image_id=r['img_id'],
            category_id=categories[label],
            score=score,
            bbox=[x, y, right - x, low - y],
        )
        for r in results
        for (x, y, right, low), score, label in zip(
            r['bboxes'].tolist(), r['scores'].tolist(), r['labels'].tolist(), strict=True
        )
    ]
    evaluation = COCOeval(truth, truth.loadRes(detections), 'bbox')
    evaluation.params.catIds, evaluation.params.maxDets = categories, [100, 300, 1000]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[:6]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and its seconds."""
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()):
        found = work()
    return found, time.process_time() - start


def main() -> None:
    """Print the table."""
    parser = tool_parser(__doc__, '')
    parser.add_argument('--images', type=int, default=500)
    args = parser.parse_args()
    with contextlib.redirect_stdout(io.StringIO()):
        truth, results, categories = cell(args.images)
    stats, reference = timed(lambda: pycocotools(truth, results, categories))
    matches, matching = timed(lambda: match(truth, results, categories, OVERLAPS))
    draws, resampling = timed(lambda: matches.resampled())
    tracemalloc.start()
    match(truth, results, categories, OVERLAPS).resampled()
    memory = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    stored = io.BytesIO()
    np.savez_compressed(stored, **matches.arrays('bbox'))
    table = Table(title=f'{args.images} images, {len(matches.score)} detections, boxes')
    for column in ('work', 'seconds', 'of pycocotools'):
        table.add_column(column)
    for name, seconds in (
        ("pycocotools' evaluation", reference),
        ('matching', matching),
        (f'{RESAMPLES} resamples of {len(draws)} scores', resampling),
    ):
        table.add_row(name, f'{seconds:.2f}', f'{seconds / reference:.2f}')
    console = Console()
    console.print(table)
    size = stored.getbuffer().nbytes / 2**20
    own = {n: round(float(np.nanmean(v)), 2) for n, v in matches.per_class().items()}
    console.print(f'stored: {size:.1f} MiB; memory at most: {memory:.0f} MiB')
    console.print(f'per cent: {own}; pycocotools: {(100 * stats).round(2).tolist()}')


if __name__ == '__main__':
    run(main)
