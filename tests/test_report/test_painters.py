"""Pictures of whatever a model predicts, or one line that says what it predicts instead."""

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from fan_mm.errors import InputError
from fan_mm.report.painters import legend_of, painter

META = dict(classes=('road', 'car', 'bus'), palette=[[200, 0, 0], [0, 200, 0], [0, 0, 200]])
IMAGE = np.full((32, 48, 3), 128, np.uint8)


def maps(**named):
    return BaseDataElement(**{name: PixelData(**held) for name, held in named.items()})


def test_panoptic_segments_in_the_colours_of_their_classes():
    segments = torch.full((1, 32, 48), 3)  # mmdet's void: the number of classes
    segments[..., 4:12, 4:20] = 0
    segments[..., 16:28, 4:20] = 1 + 1000
    segments[..., 16:28, 28:44] = 1 + 2000
    truth = torch.zeros(1, 32, 48, dtype=torch.long)
    sample = maps(pred_panoptic_seg=dict(sem_seg=segments), gt_sem_seg=dict(sem_seg=truth))
    sample.pred_instances = InstanceData(labels=torch.zeros(1))
    painted = painter(META)(IMAGE, sample)
    assert set(painted) == {'image', 'prediction', 'ground_truth', 'error'}
    picture = painted['prediction']
    assert (picture[22, 10] == picture[22, 36]).all() and picture[22, 10].argmax() == 1
    assert picture[8, 10].argmax() == 0 and (picture[14, 46] == 128).all()
    assert (painted['ground_truth'][22, 10] == painted['prediction'][8, 10]).all()
    assert legend_of(sample, META)[0] == ['road', 'car']


def test_maps_of_a_head_with_one_output():
    """mmseg's threshold makes floats."""
    found = torch.zeros(1, 32, 48)
    found[..., 24:] = 1
    truth = dict(data=torch.zeros(1, 32, 48, dtype=torch.uint8))
    painted = {}
    for kind in (torch.float32, torch.int64):
        sample = maps(pred_sem_seg=dict(data=found.to(kind)), gt_sem_seg=truth)
        painted[kind] = painter(META)(IMAGE, sample)
        assert legend_of(sample, META)[0] == ['road', 'car']
    for name, picture in painted[torch.int64].items():
        np.testing.assert_array_equal(painted[torch.float32][name], picture)


def test_depths_are_brighter_the_farther_on_one_scale():
    depth = torch.linspace(0, 5, 48).expand(1, 32, 48)
    sample = maps(pred_depth_map=dict(data=depth), gt_depth_map=dict(data=2 * depth))
    painted = painter(META)(IMAGE, sample)
    brightness = {name: painted[name].sum(axis=(0, 2)) for name in ('prediction', 'ground_truth')}
    assert brightness['prediction'][0] < 5 * 32 < brightness['prediction'][47]
    assert (np.diff(brightness['prediction'].astype(int)) >= 0).all()
    assert brightness['ground_truth'][20] > brightness['prediction'][20]
    assert legend_of(sample, META) == ([], [])


@pytest.mark.parametrize('meta', [META, {}])
def test_boxes_of_more_classes_than_are_named(monkeypatch, meta):
    """Of a model with 80 classes whose checkpoint names those of its fine-tuning."""
    seen = []
    monkeypatch.setattr(
        'fan_mm.report.painters.paint_detection',
        lambda image, boxes, captions, colours, masks: seen.append((captions, colours)),
    )
    found = InstanceData(
        bboxes=torch.zeros(2, 4), labels=torch.tensor([1, 4]), scores=torch.tensor([0.9, 0.5])
    )
    sample = BaseDataElement(pred_instances=found, metainfo=dict(ori_shape=(32, 48)))
    painter(meta)(IMAGE, sample)
    [(captions, colours)] = seen
    assert captions == ['car 0.90' if meta else 'class 1 0.90', 'class 4 0.50']
    assert colours[0] != colours[1] and (not meta or colours[0] == (0, 200, 0))


@pytest.mark.parametrize(
    ('labels', 'written'),
    [(1, ['car 50%']), ([1], ['car 50%']), ([2, 0], ['bus 20%', 'road 30%']), ([], ['(none)'])],
)
def test_one_class_or_several(monkeypatch, labels, written):
    seen = []
    monkeypatch.setattr(
        'fan_mm.report.painters.paint_classification', lambda image, lines: seen.append(lines)
    )
    scores = torch.tensor([0.3, 0.5, 0.2])
    sample = BaseDataElement(
        pred_label=torch.tensor(labels), pred_score=scores, gt_label=torch.tensor([1, 2])
    )
    painter(META)(IMAGE, sample)
    assert seen == [written, ['car', 'bus']]


@pytest.mark.parametrize(
    ('sample', 'line'),
    [
        (BaseDataElement(pred_label=torch.tensor([2, 0, 1])), 'ranks of a gallery'),
        (BaseDataElement(pred_caption='a cat'), 'BaseDataElement of pred_caption'),
        (BaseDataElement(), 'BaseDataElement of nothing'),
        ('words', 'the model returns a str'),
    ],
)
def test_what_is_not_painted_is_said(sample, line):
    with pytest.raises(InputError, match=line):
        painter(META)(IMAGE, sample)
