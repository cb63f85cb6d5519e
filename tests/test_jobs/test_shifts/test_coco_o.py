"""A detector on COCO-O: boxes and masks, their intervals, and the comparison with itself."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config

pytest.importorskip('mmseg')

from striped_sets import write

from fan_mm.datasets.shifts import SHIFT_SETS
from fan_mm.errors import InputError
from fan_mm.jobs.shifts.evaluation import evaluate_shifts
from fan_mm.report.shift_comparison import build_shift_comparison


def write_coco_o(root, domains, count=3, masks=False):
    """Pictures with one to three boxes, or masks as large, of COCO's first classes, in each domain."""
    rng = np.random.default_rng(0)
    names = list(dict.fromkeys(coco_classes()))
    for domain in domains:
        images, boxes = [], []
        for number in range(count):
            name = f'{number:012d}.jpg'
            picture = np.full((64, 96, 3), 80 + 20 * number, np.uint8)
            write(root / domain / 'val2017' / name, picture)
            images.append({'id': number + 1, 'file_name': name, 'height': 64, 'width': 96})
            for box in range(1 + number):
                x, y, w, h = (int(v) for v in rng.integers(8, 30, 4))
                boxes.append(
                    {
                        'id': len(boxes) + 1,
                        'image_id': number + 1,
                        'category_id': 1 + box,
                        'bbox': [x, y, w, h],
                        'area': w * h,
                        'iscrowd': 0,
                    }
                    | (
                        dict(segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]])
                        if masks
                        else {}
                    )
                )
        content = {
            'images': images,
            'annotations': boxes,
            'categories': [{'id': i + 1, 'name': n} for i, n in enumerate(names)],
        }
        path = root / domain / 'annotations/instances_val2017.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return root


def coco_classes():
    from mmdet.datasets import CocoDataset

    return CocoDataset.METAINFO['classes']


DETECTOR_CONFIG = """
default_scope = 'mmdet'
custom_imports = dict(imports=['fan_mm', 'cheating_detector'], allow_failed_imports=False)
model = dict(type='CheatingDetector', bbox_head=dict(num_classes=80))
test_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        ann_file='{root}/annotations/instances_val2017.json',
        data_prefix=dict(img='{root}/val2017'),
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape')),
        ],
    ),
)
test_evaluator = dict(
    type='CocoMetric', metric=['bbox'], ann_file='{root}/annotations/instances_val2017.json'
)
test_cfg = dict(type='TestLoop')
"""


@pytest.mark.parametrize('masks', [True, False])
def test_masks_are_scored_where_all_objects_have_some(masks, tmp_path, no_report, monkeypatch):
    pytest.importorskip('mmdet')
    root = write_coco_o(tmp_path / 'ood_coco', ('sketch', 'weather'), masks=True)
    write_coco_o(tmp_path / 'ood_coco', ('weather',), masks=masks)
    write_coco_o(tmp_path / 'coco', ['.'], masks=True)
    text = DETECTOR_CONFIG.format(root=tmp_path / 'coco')
    text = text.replace("['bbox']", "['bbox', 'segm']")
    text = text.replace("'CheatingDetector'", "'CheatingDetector', bright=255, masks=True")
    (tmp_path / 'detector.py').write_text(text)
    torch.save({'state_dict': {'weight': torch.zeros(1)}, 'meta': {}}, tmp_path / 'w.pth')
    cfg = Config.fromfile(tmp_path / 'detector.py')
    log = []
    monkeypatch.setattr('fan_mm.jobs.shifts.parts.warn', lambda line: log.append(line))
    results = evaluate_shifts(cfg, str(tmp_path / 'w.pth'), {'coco_o': str(root)}, tmp_path / 'out')
    entry = results['sets']['coco_o']
    assert entry['pooled']['score']['value'] == 100
    assert ('segm_mAP' in entry['others']) == masks
    said = [line for line in log if "only boxes are scored, not 'segm'" in line]
    assert len(said) == (not masks) and all('weather' in line for line in said)
    if masks:
        found = entry['others']['segm_mAP']
        assert 0 < found['pooled']['score']['value'] < 40
        assert found['clean']['value'] == found['conditions']['sketch']['score']['value']
        assert found['pooled']['score']['interval']


def test_a_detector_on_coco_o(tmp_path, no_report):
    pytest.importorskip('mmdet')
    domains = ('sketch', 'weather', 'cartoon', 'painting', 'tattoo', 'handmake')
    root = write_coco_o(tmp_path / 'ood_coco', domains)
    write_coco_o(tmp_path / 'coco', ['.'])
    (tmp_path / 'detector.py').write_text(DETECTOR_CONFIG.format(root=tmp_path / 'coco'))
    torch.save({'state_dict': {'weight': torch.zeros(1)}, 'meta': {}}, tmp_path / 'w.pth')
    cfg = Config.fromfile(tmp_path / 'detector.py')
    results = evaluate_shifts(cfg, str(tmp_path / 'w.pth'), {'coco_o': str(root)}, tmp_path / 'out')
    entry = results['sets']['coco_o']
    values = [found['score']['value'] for found in entry['conditions'].values()]
    assert list(entry['conditions']) == list(SHIFT_SETS['coco_o'].conditions)
    mean = entry['mean_of_conditions']
    assert 0 < mean['score']['value'] < 100
    assert mean['score']['value'] == pytest.approx(np.mean(values))
    clean = entry['clean']['value']
    assert mean['effective_robustness']['value'] == pytest.approx(np.mean(values) - 0.45 * clean)
    for number in (
        *(found['score'] for found in entry['conditions'].values()),
        *(
            entry[what][of]
            for what in ('pooled', 'mean_of_conditions')
            for of in ('score', 'retention')
        ),
        mean['effective_robustness'],
    ):
        low, high = number['interval']
        assert low <= number['value'] <= high and low < high
    pooled = entry['pooled']['score']['value']
    assert min(values) - 1 < pooled < max(values) + 1
    single = [v for v in entry['per_class']['bbox_mAP'].values() if v is not None]
    assert pooled == pytest.approx(np.mean(single), abs=1e-4)
    assert 'zebra' in entry['conditions']['sketch']['absent'], 'no box of it'
    assert len(entry['scored']) == 80 and results['metric']['name'] == 'bbox_mAP'
    settings = [cell['settings'] for cell in results['cells']]
    assert all(len(own['iou_thrs']) == 10 and own['annotations'] for own in settings)
    differences = build_shift_comparison([tmp_path / 'out', tmp_path / 'out']).differences
    others = entry['others']
    assert {'bbox_mAP_50', 'bbox_mAP_75'} <= others.keys()
    known = [name for name, numbers in others.items() if numbers['pooled']['score']['interval']]
    assert {'bbox_mAP_50', 'bbox_mAP_75'} <= set(known)
    for name in ('bbox_mAP_50', 'bbox_mAP_75'):
        numbers = others[name]
        for number in (
            numbers['clean'],
            *(
                found[of]
                for found in numbers['conditions'].values()
                for of in ('score', 'retention')
            ),
            *(
                numbers[w][of]
                for w in ('pooled', 'mean_of_conditions')
                for of in ('score', 'retention')
            ),
        ):
            low, high = number['interval']
            assert low <= number['value'] <= high
        for cell in results['cells']:  # the metric rounds to a thousandth
            found = numbers['conditions'].get(cell['condition'], {'score': numbers['clean']})
            assert found['score']['value'] == pytest.approx(cell['metrics'][name], abs=0.0501)
    assert 'effective_robustness' not in others['bbox_mAP_50']['mean_of_conditions']
    # which the toy's are: grey ones
    same = results['audit']['findings'][0]
    assert same['check'] == 'same pictures' and len(same['cells']) == len(results['cells'])
    assert {d.interval for d in differences if d.measure == 'bbox_mAP'} == {(0, 0)}
    paired = [d.measure for d in differences if d.interval == (0, 0)]
    assert paired.count('bbox_mAP') == paired.count('bbox_mAP_50') == 9
    cfg = Config.fromfile(tmp_path / 'detector.py')
    with pytest.raises(InputError, match='boxes'):
        evaluate_shifts(cfg, str(tmp_path / 'w.pth'), {'acdc': str(root)}, tmp_path / 'other')
