"""Boxes and masks by chance: a COCO file of some images, and detections that are right more often than not."""

import contextlib
import io

import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

OVERLAPS = np.linspace(0.5, 0.95, 10)
MANY = 130  # detections of one image and class: more than COCO counts
MOST = (100, 300, 1000)  # as mmdet has them
SCORES = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
HEIGHT, WIDTH = 480, 640


def outline(x, y, width, height):
    """The polygon of a mask in a box, which it fills by three quarters."""
    right, low, middle = x + width, y + height, x + width / 2
    return [x, y, right, y, right, y + height / 2, middle, low, x, y + height / 2]


def boxes(seed, images, classes=3, first=1, ties=False, distinct=False):
    """(COCO, results, ids of the classes): with crowds, images without objects and images without boxes.

    Args:
        seed: of the chance.
        images: number.
        classes: number; the last one has no objects.
        first: lowest id of an image; the others follow in steps of 2, the results in another order.
        ties: many scores are equal.
        distinct: no two scores are.
    """
    rng = np.random.default_rng(seed)
    ids = [first + 2 * i for i in range(images)]
    annotations, results = [], []
    for place, image in enumerate(ids):
        number = 0 if place == 1 else rng.integers(1, 7)
        corners, sizes = rng.uniform(0, 300, (number, 2)), rng.uniform(8, 120, (number, 2))
        labels = rng.integers(0, classes - 1, number)
        for (x, y), (w, h), label in zip(corners, sizes, labels, strict=True):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image,
                    category_id=int(10 * label + 1),
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=int(rng.random() < 0.15),
                    segmentation=[outline(x, y, w, h)],
                )
            )
        again = rng.integers(0, 3, number).repeat(1)
        near = np.concatenate([corners, corners + sizes], 1).repeat(again, axis=0)
        near = near + rng.normal(0, 0.1, near.shape) * np.tile(sizes, 2).repeat(again, axis=0)
        others = rng.uniform(0, 300, (MANY if place == 0 else rng.integers(0, 9), 4))
        others[:, 2:] += others[:, :2]
        found = np.concatenate([near, others]).astype(np.float32)
        kinds = np.concatenate([labels.repeat(again), rng.integers(0, classes, len(others))])
        if place == 0:
            kinds[len(near) :] = 0
        if place == 2:
            found, kinds = found[:0], kinds[:0]
        scores = rng.random(len(found)).astype(np.float32)
        if ties:
            scores = np.round(scores * 8) / np.float32(8)
        corners = found[:, :2].tolist()
        sizes = (found[:, 2:].astype(float) - found[:, :2]).tolist()
        outlines = [outline(*c, *s) for c, s in zip(corners, sizes, strict=True)]
        masks = mask.frPyObjects(outlines, HEIGHT, WIDTH) if outlines else []
        results.append(
            dict(
                img_id=image,
                bboxes=found,
                scores=scores,
                labels=kinds,
                masks=masks,
                mask_scores=scores[::-1].copy(),
            )
        )
    results = [results[i] for i in rng.permutation(images)]
    categories = [10 * label + 1 for label in range(classes)]
    return coco(ids, annotations, categories), results, categories


def coco(ids, annotations, categories):
    """pycocotools' COCO of these."""
    found = COCO()
    found.dataset = dict(
        images=[dict(id=i, width=WIDTH, height=HEIGHT, file_name=f'{i}.jpg') for i in ids],
        annotations=annotations,
        categories=[dict(id=i, name=str(i)) for i in categories],
    )
    with contextlib.redirect_stdout(io.StringIO()):
        found.createIndex()
    return found


def evaluated(truth, results, categories, kind='bbox', most=MOST, overlaps=OVERLAPS):
    """(score -> value, AP of each class) in per cent by pycocotools as mmdet uses it; NaN without objects."""
    detections = [
        dict(
            image_id=result['img_id'],
            category_id=categories[label],
            score=float(result['mask_scores' if kind == 'segm' else 'scores'][place]),
            **(
                dict(segmentation=result['masks'][place])
                if kind == 'segm'
                else dict(bbox=[*box[:2].tolist(), *(box[2:].astype(float) - box[:2]).tolist()])
            ),
        )
        for result in results
        for place, (box, label) in enumerate(zip(result['bboxes'], result['labels'], strict=True))
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(detections), kind)
        evaluation.params.catIds, evaluation.params.maxDets = categories, list(most)
        evaluation.params.imgIds = [result['img_id'] for result in results]
        evaluation.params.iouThrs = np.asarray(overlaps)
        evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
    precision = evaluation.eval['precision'][..., 0, 0]
    single = [precision[..., k][precision[..., k] > -1] for k in range(len(categories))]
    stats = np.where(evaluation.stats[:6] < 0, np.nan, 100 * evaluation.stats[:6])
    return dict(zip(SCORES, stats, strict=True)), 100 * np.array(
        [p.mean() if len(p) else np.nan for p in single]
    )


def drawn(truth, results, counts):
    """(COCO, results) with each image as often as it was drawn, in the order of the ids."""
    ids, annotations, copies = [], [], []
    for result, count in sorted(zip(results, counts, strict=True), key=lambda r: r[0]['img_id']):
        for _ in range(int(count)):
            ids.append(len(ids) + 1)
            copies.append({**result, 'img_id': ids[-1]})
            annotations += [
                {**annotation, 'id': len(annotations) + 1 + k, 'image_id': ids[-1]}
                for k, annotation in enumerate(truth.imgToAnns[result['img_id']])
            ]
    return coco(ids, annotations, sorted(truth.getCatIds())), copies
