"""The results that the FAN paper (ICML 2022, tables 8 to 14) and its successors print, as data.

`data/published.json` contains the tables row by row, as printed and uncorrected. If the columns of a row
do not match their headings, the row has a note, and this module omits the corruptions concerned. What can
be recomputed is recomputed here: retention from the two accuracies, averages from the columns, and values
that occur in several tables; every disagreement becomes a note of the row.

These are measurements by other authors, and must be labelled as published wherever they are shown.
"""

from dataclasses import dataclass, field

import numpy as np

from fan_mm.corruptions import CORRUPTIONS
from fan_mm.evaluation.data import facts

ROUNDING = 0.05  # the tables print one decimal


@dataclass(frozen=True)
class PublishedModel:
    """Published results of one model on one task, collected from all tables.

    Attributes:
        model: one name for the model across tables; a detector in parentheses.
        task: 'segmentation', 'detection' or 'classification'.
        benchmark: name of the benchmark (`fan_mm.corruptions.BENCHMARKS`).
        metric: 'mIoU', 'bbox_mAP' or 'top1'.
        clean: metric on clean images, per cent; None if not printed. Like all values, from the first
            table that prints it (the main tables 8 to 11 before the detailed ones, 12 to 14).
        corrupted: printed benchmark average, per cent.
        retention: printed ratio corrupted / clean, per cent.
        mce: mean corruption error against AlexNet, per cent (table 11), lower is better.
        corruptions: metric per corruption, mean over severities, per cent.
        sources: the rows used, such as 'Table 13, row 17'.
        notes: contradictions in and between the tables, one sentence each.
        worst: printed metric of the worst corruption, per cent.
        real: condition of a real data set -> metric, per cent, such as 'ACDC val, fog'.
        broken: whether the numbers are so contradictory that the model is not ranked.
        other_average: whether `corrupted` is an average over other corruptions than the benchmark's.
    """

    model: str
    task: str
    benchmark: str
    metric: str
    clean: float | None
    corrupted: float | None
    sources: tuple[str, ...]
    retention: float | None = None
    mce: float | None = None
    corruptions: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    worst: float | None = None
    real: dict[str, float] = field(default_factory=dict)
    broken: bool = False
    other_average: bool = False


@dataclass(frozen=True)
class Publication:
    """Models that one source evaluates under the same protocol.

    Attributes:
        source: the publication.
        short: a short form of it, for headings.
        benchmark: name of the benchmark (`fan_mm.corruptions.BENCHMARKS`).
        dataset: class of the data set.
        images: the images evaluated, such as 'Cityscapes validation'.
        samples: number of images.
        corrupted: how the corrupted images were made.
        models: the models, in the order of the source.
        remarks: notes that apply to all of them, one sentence each.
    """

    source: str
    short: str
    benchmark: str
    dataset: str
    images: str
    samples: int
    corrupted: str
    models: tuple[PublishedModel, ...]
    remarks: tuple[str, ...] = ()


def paper() -> dict:
    """The whole data file: 'source', 'protocols' per benchmark, 'tables' by number, 'notes'."""
    return facts('published')


def table_rows(number: int) -> list[dict]:
    """Rows of one table as printed: 'table', 'row' (from 1), 'model', 'printed' and its columns."""
    table = paper()['tables'][str(number)]
    return [
        {'table': number, 'row': i, 'model': row['model'], 'printed': row['printed']}
        | dict(zip(table['columns'], row['values'], strict=True))
        for i, row in enumerate(table['rows'], start=1)
    ]


def corruption_columns(row: dict) -> dict[str, float]:
    """The corruptions among a row's columns, in printed order."""
    return {name: value for name, value in row.items() if name in CORRUPTIONS}


def retention_agrees(row: dict) -> bool:
    """Whether the printed retention is corrupted / clean for some values that round to those printed."""
    lowest = 100 * (row['corrupted'] - ROUNDING) / (row['clean'] + ROUNDING) - ROUNDING
    highest = 100 * (row['corrupted'] + ROUNDING) / (row['clean'] - ROUNDING) + ROUNDING
    return lowest <= row['retention'] <= highest


def average_offset(row: dict) -> float:
    """Printed average minus the mean of the printed corruption columns, in points."""
    return row['corrupted'] - float(np.mean(list(corruption_columns(row).values())))


def published_models(task: str) -> list[PublishedModel]:
    """All models that the paper evaluates on a task, in the order of the tables.

    Args:
        task: 'segmentation', 'detection' or 'classification'.
    """
    tables = {int(n): t for n, t in paper()['tables'].items() if t['task'] == task}
    rows: dict[str, list[dict]] = {}
    for number in sorted(tables):
        for row in table_rows(number):
            rows.setdefault(row['model'], []).append(row)
    table = tables[min(tables)]
    return [_gather(name, task, table, found) for name, found in rows.items()]


def publications(task: str) -> list[Publication]:
    """The FAN paper and its successors, for one task.

    Args:
        task: 'segmentation', 'detection' or 'classification'.
    """
    table = next(t for t in paper()['tables'].values() if t['task'] == task)
    protocol = paper()['protocols'][table['benchmark']]
    shared = dict(
        benchmark=table['benchmark'],
        dataset=protocol['type'],
        images=protocol['dataset'],
        samples=protocol['samples'],
    )
    averages = [
        t['average'] for t in paper()['tables'].values() if t['task'] == task and 'average' in t
    ]
    found = [
        Publication(
            source=paper()['source'],
            short='Zhou et al., 2022',
            corrupted=protocol['images'],
            models=tuple(published_models(task)),
            remarks=tuple(average['note'] for average in averages),
            **shared,
        )
    ]
    for successor in paper()['successors']:
        rows = [row for row in successor['rows'] if row['task'] == task]
        if rows:
            models = tuple(
                PublishedModel(
                    model=row['model'],
                    task=task,
                    benchmark=shared['benchmark'],
                    metric=table['metric'],
                    clean=row['clean'],
                    corrupted=row.get('corrupted'),
                    mce=row.get('mCE'),
                    sources=(row['printed'],),
                    notes=(row['note'],),
                    real=row.get('real', {}),
                )
                for row in rows
            )
            found.append(
                Publication(
                    source=successor['source'],
                    short=successor['short'],
                    corrupted='not said',
                    models=models,
                    **shared,
                )
            )
    return found


def _gather(model: str, task: str, table: dict, rows: list[dict]) -> PublishedModel:
    numbers = {row['table'] for row in rows}
    written = [
        note
        for note in paper()['notes']
        if model in note['models'] and numbers & {int(n) for n in note['tables']}
    ]
    doubtful = {name for note in written for name in note.get('doubtful', ())}
    corruptions = {k: v for row in rows for k, v in corruption_columns(row).items()}

    def first(column: str) -> float | None:
        return next((row[column] for row in rows if row.get(column) is not None), None)

    return PublishedModel(
        model=model,
        task=task,
        benchmark=table['benchmark'],
        metric=table['metric'],
        clean=first('clean'),
        corrupted=first('corrupted'),
        retention=first('retention'),
        mce=first('mCE'),
        corruptions={k: v for k, v in corruptions.items() if k not in doubtful},
        sources=tuple(f'Table {row["table"]}, row {row["row"]}' for row in rows),
        notes=(*(note['text'] for note in written), *_disagreements(rows)),
        other_average=any(
            t['task'] == task and t.get('average', {}).get('other_set', False)
            for t in paper()['tables'].values()
        ),
    )


def _disagreements(rows: list[dict]) -> list[str]:
    """Sentences about what can be recomputed from the printed numbers and does not agree."""
    found = []
    for column, what in (('clean', 'clean'), ('corrupted', 'corrupted average')):
        printed = {row['table']: row[column] for row in rows if column in row}
        if len(set(printed.values())) > 1:
            places = ' and '.join(f'{value} in Table {n}' for n, value in printed.items())
            found.append(f'Printed twice with different values: {what} {places}.')
    for row in rows:
        if 'retention' in row and not retention_agrees(row):
            ratio = 100 * row['corrupted'] / row['clean']
            found.append(
                f'Table {row["table"]} prints {row["retention"]} % retained; it is {ratio:.1f} %.'
            )
        if corruption_columns(row):
            tolerance = paper()['tables'][str(row['table'])]['average']['tolerance']
            offset = average_offset(row)
            if abs(offset) > tolerance:
                mean = row['corrupted'] - offset
                found.append(
                    f'Table {row["table"]} prints the average {row["corrupted"]}; '
                    f'the mean of its columns is {mean:.1f}.'
                )
    return found
