"""Storage backends and decoders that are not there, in a dataset, a transform and a metric."""

import mmcv.image.io as mmcv_io
import pytest
from mmengine.dataset import BaseDataset

from fan_mm.engine.checks.datasets import check_names
from fan_mm.engine.detection_checks import check_evaluator
from fan_mm.errors import InputError


def dataset(**loading):
    return dict(type=BaseDataset, pipeline=[dict(type='LoadImageFromFile', **loading)])


@pytest.mark.parametrize(
    ('cfg', 'words'),
    [
        (dataset(), None),
        (dataset(backend_args=dict(backend='local')), None),
        (dataset(backend_args=dict()), None),
        (dataset(imdecode_backend='pillow'), None),
        (dataset() | dict(backend_args=dict(backend='http')), None),
        (
            dict(type=BaseDataset, backend_args=dict(backend='disk')),
            "d.backend_args: .* 'disk', .*local",
        ),
        (
            dataset(backend_args=dict(backend='s3')),
            "transform 1.backend_args: .* backend 's3', only ",
        ),
        (
            dataset(imdecode_backend='turbojpeg'),
            "transform 1: imdecode_backend='turbojpeg' needs Py",
        ),
        (
            dataset(imdecode_backend='tifffile'),
            "transform 1: imdecode_backend='tifffile' needs tif",
        ),
    ],
)
def test_what_reads_files(monkeypatch, cfg, words):
    monkeypatch.setattr(mmcv_io, 'jpeg', None)
    monkeypatch.setattr(mmcv_io, 'tifffile', None)
    if words is None:
        check_names('d', cfg)
        return
    with pytest.raises(InputError, match=words):
        check_names('d', cfg)


def test_a_decoder_that_is_there(monkeypatch):
    monkeypatch.setattr(mmcv_io, 'jpeg', object())
    monkeypatch.setattr(mmcv_io, 'tifffile', object())
    for decoder in ('turbojpeg', 'tifffile'):
        check_names('d', dataset(imdecode_backend=decoder))


def test_of_a_metric():
    with pytest.raises(InputError, match=r"^val_evaluator.backend_args: .* 's3'"):
        check_evaluator('val_evaluator', dict(type='A', backend_args=dict(backend='s3')))
