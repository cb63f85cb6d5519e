"""What cannot be exported is refused in one line, and what the file leaves out is said."""

import sys

import pytest
import torch
from mmengine.model import BaseModel
from plain_networks import Plain, Queries, features
from small_models import segmenter

from fan_mm.deploy import Network, export_onnx
from fan_mm.errors import InputError
from fan_mm.jobs import export as jobs_export

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')
pytest.importorskip('mmpretrain')
pytest.importorskip('mmseg')

export = jobs_export.export


class Wrapping(BaseModel):
    """Another library's network as a whole, as mmpretrain's TimmClassifier has it; a map is no class."""

    def __init__(self):
        super().__init__()
        self.model = torch.nn.Conv2d(3, 4, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.model(inputs)


class Losses(torch.nn.Module):
    """A head of self-supervised training, which has no forward."""


class Asking(torch.nn.Module):
    """A head that wants more than features, as Mask2Former's."""

    def forward(self, features, samples):
        return features[0]


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: Network(Plain(), 'detection'), '--part features'),
        (lambda: Network(Plain(Losses()), 'segmentation'), 'Losses gives no plain scores'),
        (lambda: Network(Wrapping(), 'classification'), 'Wrapping gives no plain scores'),
        (lambda: Network(Wrapping(), 'classification', part='features'), 'with a TIMMBackbone'),
        (lambda: Network(Plain(), 'segmentation'), 'no single head'),
        (lambda: Network(Plain(Queries()), 'segmentation'), 'no plain scores'),
        (
            lambda: Network(Plain(), 'detection', part='features', preprocessing=True),
            'BGR to RGB',
        ),
        (lambda: export_onnx(features(), (64, 64), opset=11), '--opset 11: PyTorch exports 18'),
        (lambda: export_onnx(features(), (64, 64), opset=99), '--opset 99'),
        (
            lambda: export_onnx(features(8), (4, 4)),
            'the model does not accept 4x4 pixels: too small',
        ),
        (
            lambda: Network(features(65).model, 'segmentation'),
            'does not accept 64x64 pixels: too small',
        ),
        (lambda: Network(Plain(Asking()), 'segmentation'), 'no plain scores'),
        (lambda: export_onnx(_huge(), (64, 64)), '3.0 GiB of weights: an ONNX file can hold 2 GiB'),
    ],
)
def test_what_cannot_be_exported(make, message):
    with pytest.raises(InputError, match=message) as error:
        make()
    assert '\n' not in str(error.value)


def _huge():
    """A network of 3 GiB, of which no byte is there."""
    network = features()
    network.model.backbone.weight = torch.nn.Parameter(torch.empty(3 * 2**28, device='meta'))
    return network


@pytest.mark.parametrize(
    ('made', 'line'),
    [
        (dict(test_cfg=dict(size_divisor=32)), 'SimpleNamespace pads images (size_divisor 32)'),
        (dict(test_cfg=None, pad_size_divisor=32), None),  # mmseg pads by test_cfg alone
        (dict(pad_size_divisor=32), 'pads images (pad_size_divisor 32), the file does not'),
        (dict(pad_size_divisor=1), None),
        (dict(), None),
    ],
)
def test_what_the_file_leaves_out_is_said(made, line, monkeypatch):
    from types import SimpleNamespace

    said = []
    monkeypatch.setattr(jobs_export, 'warn', lambda text: said.append(text))
    model = SimpleNamespace(data_preprocessor=SimpleNamespace(**made))
    jobs_export._tell_what_is_left(
        SimpleNamespace(model=model, part='whole', preprocessing=True), None
    )
    assert len(said) == (line is not None) and (line or '') in ''.join(said)
    model.test_cfg = dict(mode='slide', crop_size=(48, 64), stride=(32, 48))
    window = jobs_export._window(model)
    assert window == dict(crop_size=[48, 64], stride=[32, 48])
    network = SimpleNamespace(model=model, part='whole', preprocessing=False)
    jobs_export._tell_what_is_left(network, window)
    assert 'slides a window of [48, 64] pixels by [32, 48]' in said[-1]


@pytest.mark.parametrize(
    ('name', 'options', 'message'),
    [
        ('m.engine', dict(form='tensorrt'), 'tensorrt is not installed: pip install tensorrt'),
        ('m.bin', {}, 'the name of an ONNX file must end in .onnx'),
    ],
)
def test_formats_that_cannot_be_written(exported, tmp_path, monkeypatch, name, options, message):
    monkeypatch.setitem(sys.modules, 'tensorrt', None)
    with pytest.raises(InputError, match=message):
        export(segmenter(), exported[1], tmp_path / name, (64, 96), **options)
    with pytest.raises(InputError, match='is already exported'):
        export(segmenter(), str(exported[0]), tmp_path / 'm.onnx', (64, 96))
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(
        InputError, match='onnxscript is not installed: pip install onnx onnxscript onnxruntime'
    ):
        export_onnx(features(), (64, 64))
