"""Pipelines that resize and crop are set to another input size."""

import pytest

pytest.importorskip('mmpretrain')

from mmpretrain.registry import TRANSFORMS

from fan_mm.jobs.input_size import resize


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
