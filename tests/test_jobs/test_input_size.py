"""Pipelines that resize and crop are set to another input size."""

import pytest

pytest.importorskip('mmpretrain')

from mmpretrain.registry import TRANSFORMS

from fan_mm.errors import InputError
from fan_mm.jobs.input_size import _short_side, crop_size, resize


@pytest.mark.parametrize(
    ('side', 'enlarged'), [(256, 438), (248, 426), (224, 384), (235, 404), (2000, 3428)]
)
def test_sizes_of_pipelines(side, enlarged):
    """Crop ratios 0.875, 0.9 (FAN-Swin), 1, 0.95, and one that nobody writes down."""
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomApply', transforms=[dict(type='mmpretrain.ResizeEdge', scale=side)]),
        [dict(type=TRANSFORMS.get('CenterCrop'), crop_size=(224, 224))],
    ]
    resize(pipeline, 384)
    assert pipeline[1]['transforms'][0]['scale'] == enlarged
    assert pipeline[2][0]['crop_size'] == (384, 384)


def edge(scale=256, kind='ResizeEdge'):
    return dict(type=kind, scale=scale)


def crop(size=224, kind='CenterCrop'):
    return dict(type=kind, crop_size=size)


@pytest.mark.parametrize(
    ('pipeline', 'resized', 'own'),
    [
        ([edge(), crop()], [edge(342), crop(300)], 224),
        ([edge(232), crop((224, 224))], [edge(310), crop((300, 300))], 224),
        ([edge(300), edge(256), crop()], [edge(300), edge(342), crop(300)], 224),
        ([edge(kind='mmpretrain/Resize'), crop([224, 224])], [edge(342, 'mmpretrain/Resize'), crop([300, 300])], 224),
        ([edge(), dict(type='CenterCrop', size=224)], [edge(342), dict(type='CenterCrop', size=300)], 224),
        ([edge(8), crop(300)], [edge(8), crop(300)], 300),  # as it is
        ([edge(8), crop(300, 'EfficientNetCenterCrop')], [edge(8), crop(300, 'EfficientNetCenterCrop')], 300),
        ([edge(400), edge((256, 256), 'Resize')], [edge(400), edge((300, 300), 'Resize')], 256),
        ([edge(100, 'Resize'), edge(256, 'Resize')], [edge(100, 'Resize'), edge(300, 'Resize')], 256),
        ([edge(256, 'Resize'), crop(0)], [edge(300, 'Resize'), crop(0)], 256),
        ([dict(type='Resize', size=256)], [dict(type='Resize', size=300)], 256),
        ([edge(), crop(8, 'RandomCrop'), crop()], [edge(342), crop(8, 'RandomCrop'), crop(300)], 224),
        ([dict(type='ResizeEdge', scale=256)], [dict(type='ResizeEdge', scale=300)], None),
        ([crop((224, 192)), edge((300, 200), 'Resize')], 'need ResizeEdge and CenterCrop, or Resize', None),
        ([], 'need ResizeEdge and CenterCrop, or Resize', None),
        ([edge(-1, 'Resize')], 'need ResizeEdge and CenterCrop, or Resize', None),
        ([crop()], 'need ResizeEdge and CenterCrop in the test pipeline, --size SET=224 keeps', 224),
        ([edge(), crop(224, 'EfficientNetCenterCrop')], 'in the test pipeline, --size SET=224 keeps', 224),
    ],
)  # fmt: skip
def test_steps_that_tell_the_size(pipeline, resized, own):
    loader = dict(dataset=dict(type='ImageNet', pipeline=pipeline))
    assert crop_size(loader) == own
    if isinstance(resized, str):
        with pytest.raises(
            InputError, match=f'^300 pixels {resized if resized[0] == "n" else ".*" + resized}'
        ):
            resize(pipeline, 300)
    else:
        resize(pipeline, 300)
        assert pipeline == resized


def test_a_dataset_without_a_pipeline():
    assert (
        crop_size(dict(dataset=dict(type='RepeatDataset', dataset=dict(type='ImageNet')))) is None
    )


@pytest.mark.parametrize(
    ('size', 'crop', 'side', 'expected'),
    [
        (384, 224, 248, 426),  # 0.9
        (300, 20, 22, 333),  # 0.9, though it is nearer to 0.91
        (384, 224, 256, 438),  # 0.875
        (3840, 224, 239, 4098),  # 0.937
        (300, 1, 100, 30000),  # 0.01
        (300, 8, 7777, 291637),  # no ratio of so few digits
    ],
)
def test_the_ratio_to_the_crop_is_one_of_few_digits(size, crop, side, expected):
    assert _short_side(size, crop, side) == expected
