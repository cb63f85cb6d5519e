"""Published results on real adverse conditions, for the splits and protocols of `SHIFT_SETS`, as data.

`data/published_shifts.json` contains values from the methods' own or citing repositories, and `semsegbench`
those of its models on ACDC val. None of them were measured here. Only SemSegBench's rows are ranked, because
the other models were trained on other data or adapted.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from fan_mm.evaluation import semsegbench
from fan_mm.evaluation.data import facts


@dataclass(frozen=True)
class PublishedShift:
    """Published results of one model on one set.

    Attributes:
        model: name of the model.
        set: name of the set.
        split: split of the set.
        metric: 'mIoU', 'bbox_mAP', 'bbox_mAP_50'.
        values: condition, 'pooled', 'mean_of_conditions' or 'clean' -> per cent.
        training: training data.
        source: source of the values.
        samples: number of images evaluated; None if not stated.
        note: what a reader of the row must know.
        ranked: whether results on the same images may be ranked among these rows, which requires that they
            come from one source that trained all models in the same way.
    """

    model: str
    set: str
    split: str
    metric: str
    values: Mapping[str, float]
    training: str
    source: str
    samples: int | None = None
    note: str = ''
    ranked: bool = False


def published_shifts(name: str, split: str, metric: str) -> list[PublishedShift]:
    """The rows of one set, split and metric.

    Args:
        name: name of the set, a key of ``SHIFT_SETS``.
        split: split of the set.
        metric: metric of the results to compare with.
    """
    found = [PublishedShift(**row) for row in facts('published_shifts')['rows']] + _semsegbench()
    return [row for row in found if (row.set, row.split, row.metric) == (name, split, metric)]


def other_protocols(name: str, split: str) -> list[str]:
    """Values printed for a set and split under another protocol, and why no table has them."""
    return [
        f'{row["model"]} prints {row["metric"]} {row["value"]} ({row["source"]}), by another protocol: '
        f'{row["why"]}'
        for row in facts('published_shifts')['other_protocols']
        if (row['set'], row['split']) == (name, split)
    ]


@functools.cache
def _semsegbench() -> list[PublishedShift]:
    broken = {
        model.model
        for publication in semsegbench.publications('CityscapesDataset')
        for model in publication.models
        if model.broken
    }
    columns = {'pooled': 'acdc', **{c: f'acdc_{c}' for c in ('fog', 'night', 'rain', 'snow')}}
    rows = zip(semsegbench.rows(), semsegbench.names(), strict=True)
    return [
        PublishedShift(
            model=name,
            set='acdc',
            split='val',
            metric='mIoU',
            values={where: row[column] for where, column in columns.items()}
            | {'clean': row['clean']},
            training='Cityscapes',
            source=semsegbench.SOURCE,
            samples=406,
            note='Its sweep over corruptions was broken; it has no rank.' if name in broken else '',
            ranked=name not in broken,
        )
        for row, name in rows
        if row['acdc'] is not None  # only models trained on Cityscapes have it
    ]
