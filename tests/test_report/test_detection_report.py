"""Detection's other numbers: masks, objects by size, the usual 15 types; each with its interval."""

import csv
import json

import pytest

from fan_mm.corruptions import BENCHMARKS
from fan_mm.evaluation.cells import CLEAN, Cell, CellRecord
from fan_mm.evaluation.metrics import ALEXNET_ERRORS
from fan_mm.evaluation.results import build_results, read_results, write_results
from fan_mm.evaluation.scope import choose_scope
from fan_mm.evaluation.summary import summarize
from fan_mm.jobs.robustness import summary_text
from fan_mm.report import labels, write_report
from fan_mm.report.comparison_files import write_comparison
from fan_mm.report.labels import metric_label
from fan_mm.report.robustness_table import RobustnessTable
from fan_mm.report.shift_comparison import build_shift_comparison
from fan_mm.report.shift_comparison_files import write_shift_comparison
from fan_mm.report.shift_table import OTHERS, ShiftTable
from fan_mm.report.shift_tables import summary_text as shift_summary
from fan_mm.report.tables import report_markdown

SCOPE = choose_scope(BENCHMARKS['coco-c'], ['fog', 'snow'], [1, 3])


def results(**changed):
    """Boxes fall by 4 points a severity, masks by 3; there are no large objects."""
    records = []
    for cell in SCOPE.cells:
        boxes, masks = 40.0 - 4 * cell.severity, 30.0 - 3 * cell.severity
        metrics = dict(bbox_mAP=boxes, bbox_mAP_s=boxes / 2, bbox_mAP_l=None, segm_mAP=masks)
        status = 'failed' if cell in changed.get('failed', ()) else 'done'
        records.append(
            CellRecord(*cell, status=status, metrics={} if status == 'failed' else metrics)
        )
    return build_results(
        scope=SCOPE,
        records=records,
        task='detection',
        headline='bbox_mAP',
        model={
            'name': 'imagined',
            'config': None,
            'checkpoint': None,
            'config_sha256': None,
            'checkpoint_sha256': None,
        },
        dataset={
            'type': 'CocoDataset',
            'samples': 9,
            'classes': ['a', 'b'],
            'palette': None,
            'sha256': '0' * 64,
        },
        protocol={'seed': 0, 'channel_order': 'rgb', 'corruption_version': '1'},
        per_image=None,
        summarized=['bbox_mAP_s', 'bbox_mAP_l', 'segm_mAP'],
    )


def test_every_metric_is_summed_up():
    found = results()
    others = found['other_summaries']
    assert list(others) == ['bbox_mAP_s', 'bbox_mAP_l', 'segm_mAP']
    assert found['summary']['mPC']['value'] == pytest.approx(32)
    assert others['segm_mAP']['clean'] == 30
    assert others['segm_mAP']['mPC']['value'] == pytest.approx(24)
    assert others['segm_mAP']['rPC']['value'] == pytest.approx(80)
    assert others['segm_mAP']['corruptions']['fog']['mean'] == pytest.approx(24)
    assert others['bbox_mAP_s']['mPC']['value'] == pytest.approx(16)
    assert others['bbox_mAP_l']['mPC']['value'] is None


def test_report_shows_masks_and_sizes(tmp_path):
    path = write_report(write_results(tmp_path, results(), None), tmp_path)
    text = (tmp_path / 'report.md').read_text()
    row = next(line for line in text.splitlines() if line.startswith('| mask mAP'))
    assert [cell.strip() for cell in row.split('|')[2:5]] == ['30.0', '24.0', '80.0']
    assert '| box AP small | 20.0 | 16.0 | 80.0' in text
    assert 'Mask mAP by corruption and severity' in text
    assert '27.0' in text.partition('Mask mAP by corruption')[2]  # masks, fog 1
    page = path.read_text()
    assert 'Boxes and masks, by object size' in page and 'Mask mAP by corruption' in page
    assert 'box AP small' in page


def test_scores_without_an_interval_are_named_where_others_have_one():
    found = results()
    assert RobustnessTable(found).without_interval() == ''  # none has
    found['bootstrap'] = {'resamples': 1000, 'level': 0.95}
    found['other_summaries']['segm_mAP']['mPC']['interval'] = [23.0, 25.0]
    # of large objects there is no value either
    said = 'No intervals: box AP small, mask mAP (rPC); '
    assert RobustnessTable(found).without_interval().startswith(said)
    found['other_summaries']['segm_mAP']['rPC']['interval'] = [88.0, 92.0]
    assert RobustnessTable(found).without_interval().startswith('No intervals: box AP small; ')


def test_incomplete_is_incomplete_for_every_metric(tmp_path):
    found = results(failed=[Cell('fog', 3)])
    assert found['other_summaries']['segm_mAP']['mPC']['value'] is None
    write_report(write_results(tmp_path, found, None), tmp_path)
    assert '| mask mAP | 30.0 | incomplete |' in (tmp_path / 'report.md').read_text()
    assert 'incomplete' in summary_text(found)


def test_masks_alone_beside_boxes_have_their_tables():
    found = results()
    found['other_summaries'] = {'segm_mAP': found['other_summaries']['segm_mAP']}
    text = report_markdown(RobustnessTable(found), [])
    table = text.partition('## Boxes and masks')[2].partition('##')[0]
    assert '| mask mAP | 30.0 | 24.0 | 80.0 |' in table and 'small' not in table
    assert 'Mask mAP by corruption and severity' in text


def test_boxes_alone_have_no_table_of_masks(tmp_path):
    found = results()
    found['other_summaries'].pop('segm_mAP')
    write_report(write_results(tmp_path, found, None), tmp_path)
    assert 'Mask mAP' not in (tmp_path / 'report.html').read_text()


def test_results_of_older_versions_are_still_shown(tmp_path):
    found = results()
    del found['other_summaries']
    assert RobustnessTable(found).summed_up() == ['bbox_mAP']
    write_report(write_results(tmp_path, found, None), tmp_path)


def test_a_comparison_shows_masks_and_sizes(tmp_path):
    folders = [tmp_path / name for name in 'ab']
    for folder, spread in zip(folders, (None, 1.0), strict=True):
        found = results()
        if spread:
            found['other_summaries']['segm_mAP']['mean']['interval'] = [23.0, 25.5]
        write_results(folder, found, None)
    write_comparison(folders, tmp_path)
    markdown, latex, page = (
        (tmp_path / f'comparison.{end}').read_text() for end in ('md', 'tex', 'html')
    )
    table = markdown.partition('## Boxes and masks')[2].partition('##')[0].splitlines()
    assert '| model | box AP small ↑ | mask mAP ↑ |' in table  # and no large objects
    rows = [line for line in table if line.startswith('| imagined')]
    assert [row.split(' | ')[1:] for row in rows] == [
        ['16.0', '24.0 |'],
        ['16.0', '24.0 [23.0, 25.5] |'],
    ]
    assert latex.count('\\begin{table*}') == 2 and '& 16.0 & 24.0 \\\\' in latex
    assert 'Boxes and masks, by object size' in page and '24.0 [23.0, 25.5]' in page
    assert '| mask mAP: corrupted mean ↑ | 0.0 |  | no interval |' in markdown


@pytest.fixture(scope='module')
def on_real_conditions(tmp_path_factory):
    """Folders of two models."""
    pytest.importorskip('pycocotools')
    from box_results import write

    root = tmp_path_factory.mktemp('detectors')
    return [write(root / name, name=name, better=name == 'second') for name in ('first', 'second')]


def test_real_conditions_have_intervals_of_all_scores_in_every_form(on_real_conditions):
    folder = on_real_conditions[0]
    results = read_results(folder)
    others = results['sets']['coco_o']['others']
    assert list(others) == results['metric']['others'] and 'segm_mAP_75' in others
    write_report(folder / 'results.json', folder)
    with open(folder / 'results.csv') as file:
        rows = {row['condition']: row for row in csv.DictReader(file)}
    assert all(None not in (*row, *row.values()) for row in rows.values())  # as many as the heads
    markdown, page = ((folder / f'report.{end}').read_text() for end in ('md', 'html'))
    table = markdown.partition(OTHERS)[2].partition('##')[0]
    text = shift_summary(results)
    for metric, numbers in others.items():
        for label, number in {
            'CocoDataset': numbers['clean'],
            'sketch': numbers['conditions']['sketch']['score'],
            'pooled': numbers['pooled']['score'],
            'mean of conditions': numbers['mean_of_conditions']['score'],
        }.items():
            row = rows[label]
            written = [row[f'{metric}{end}'] for end in ('', '_low', '_high')]
            expected = [number['value'], *(number['interval'] or (None, None))]
            assert written == ['' if v is None else str(v) for v in expected]
            if number['interval']:
                shown = f'{labels.number(number["value"])} {labels.interval(number["interval"])}'
                assert shown in next(t for t in table.splitlines() if f'| {label} |' in t)
                assert labels.interval(number['interval']) in page
    assert 'mask AP75, COCO-O pooled' in text and 'mask AP75 ↑' in table
    # nothing is matched of recall, which the metric alone gives
    assert others['AR@100']['conditions']['sketch']['score']['value'] == 33.3
    assert 'it is not pooled' in others['AR@100']['pooled']['reason']
    assert 'No intervals in some rows: ' in table and 'AR@100; no per-image' in page
    mean = results['sets']['coco_o']['mean_of_conditions']
    assert mean['effective_robustness']['interval']


def test_two_detectors_on_real_conditions(on_real_conditions, tmp_path):
    write_shift_comparison(on_real_conditions, tmp_path)
    comparison = build_shift_comparison(on_real_conditions)
    markdown, latex, page = (
        (tmp_path / f'comparison.{end}').read_text() for end in ('md', 'tex', 'html')
    )
    known = {d.measure for d in comparison.differences if d.interval}
    assert {'bbox_mAP', 'bbox_mAP_50', 'segm_mAP', 'segm_mAP_75'} <= known
    pooled = [
        {d.measure: d for d in comparison.differences if d.column.condition == condition}
        for condition in ('pooled', 'mean_of_conditions')
    ]
    for found in pooled:
        assert found['bbox_mAP_50'].points > 0 and found['bbox_mAP_50'].interval
        assert found['segm_mAP'].interval == (0, 0)
    for label in ('box AP50', 'mask mAP', 'mask AP75'):
        assert f'| {label} ↑ |' in markdown and label in page and f'{label} $' in latex
    first, second = (read_results(f)['sets']['coco_o']['others'] for f in on_real_conditions)
    values = [o['bbox_mAP_50']['pooled']['score']['value'] for o in (first, second)]
    assert pooled[0]['bbox_mAP_50'].points == pytest.approx(values[1] - values[0])


def test_published_boxes_stand_beside_whichever_of_their_scores_is_printed(
    on_real_conditions, tmp_path
):
    text = (on_real_conditions[0] / 'results.json').read_text()
    text = text.replace('coco_o', 'acdc_boxes').replace('val2017', 'val')
    (tmp_path / 'results.json').write_text(text)
    for path, expected in (
        (on_real_conditions[0], ('coco_o', 'val2017', 'bbox_mAP')),
        (tmp_path, ('acdc_boxes', 'val', 'bbox_mAP_50')),
    ):
        rows = build_shift_comparison([path], published=True).published
        assert {(row.set, row.split, row.metric) for row in rows} == {expected}


def test_results_on_real_conditions_of_older_versions_are_still_shown(on_real_conditions, tmp_path):
    found = read_results(on_real_conditions[0])
    for entry in found['sets'].values():
        del entry['others']
    table = ShiftTable(found)
    assert table.others == () and table.without_interval() == ''
    (tmp_path / 'results.json').write_text(json.dumps(found))
    write_report(tmp_path / 'results.json', tmp_path)
    assert OTHERS not in (tmp_path / 'report.md').read_text()
    paths = [tmp_path, on_real_conditions[1]]
    assert {d.measure for d in build_shift_comparison(paths).differences} == {'bbox_mAP'}
    write_shift_comparison(paths, tmp_path / 'out')


def test_usual_fifteen():
    """As mmdet's documentation reports them, beside COCO-C's sixteen."""
    scope = choose_scope(BENCHMARKS['all'])
    scores = {cell: 10.0 if cell.corruption in ALEXNET_ERRORS else 90.0 for cell in scope.cells}
    scores[CLEAN] = 20.0
    summary = summarize(scope, scores, 'detection', 80)
    assert summary['mPC_15']['value'] == pytest.approx(10)
    assert summary['rPC_15']['value'] == pytest.approx(50)
    assert summary['mPC']['value'] == pytest.approx((15 * 10 + 4 * 90) / 19)
    usual = choose_scope(BENCHMARKS['imagenet-c'])
    assert 'mPC_15' not in summarize(usual, scores, 'detection', 80)
    assert 'mPC_15' not in summarize(scope, scores, 'segmentation', 80)


@pytest.mark.parametrize(
    'name, label',
    [
        ('bbox_mAP_50', 'box AP50'),
        ('segm_mAP', 'mask mAP'),
        ('segm_mAP_l', 'mask AP large'),
        ('top1', 'top-1 accuracy'),
    ],
)
def test_labels(name, label):
    assert metric_label(name) == label
