"""Detection's other numbers: masks, objects by size, the usual 15 types."""

import pytest

from fan_mm.corruptions import BENCHMARKS
from fan_mm.evaluation.cells import CLEAN, Cell, CellRecord
from fan_mm.evaluation.metrics import ALEXNET_ERRORS
from fan_mm.evaluation.results import build_results, write_results
from fan_mm.evaluation.scope import choose_scope
from fan_mm.evaluation.summary import summarize
from fan_mm.jobs.robustness import summary_text
from fan_mm.report import write_report
from fan_mm.report.labels import metric_label
from fan_mm.report.robustness_table import RobustnessTable

SCOPE = choose_scope(BENCHMARKS['coco-c'], ['fog', 'snow'], [1, 3])


def results(task='detection', **changed):
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
        task=task,
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
    assert results('segmentation')['other_summaries'] == {}


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


def test_incomplete_is_incomplete_for_every_metric(tmp_path):
    found = results(failed=[Cell('fog', 3)])
    assert found['other_summaries']['segm_mAP']['mPC']['value'] is None
    write_report(write_results(tmp_path, found, None), tmp_path)
    assert '| mask mAP | 30.0 | incomplete |' in (tmp_path / 'report.md').read_text()
    assert 'incomplete' in summary_text(found)


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
