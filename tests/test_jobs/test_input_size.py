"""Pipelines that resize and crop are set to another input size."""

import pytest

pytest.importorskip('mmpretrain')

from mmpretrain.registry import TRANSFORMS

from fan_mm.jobs.input_size import resize


def test_sizes_of_pipelines():
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomApply', transforms=[dict(type='mmpretrain.ResizeEdge', scale=256)]),
        [dict(type=TRANSFORMS.get('CenterCrop'), crop_size=(224, 224))],
    ]
    resize(pipeline, 384)
    assert pipeline[1]['transforms'][0]['scale'] == 438
    assert pipeline[2][0]['crop_size'] == (384, 384)
