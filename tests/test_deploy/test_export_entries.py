"""What an exported file says of itself, and how its graph is tried: the parts of the job by themselves."""

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config

from fan_mm.errors import InputError
from fan_mm.jobs import export


@pytest.mark.parametrize(
    ('value', 'plain'),
    [
        ((1, (2.5, 'a')), [1, [2.5, 'a']]),
        ({1: (True,), 'b': {'c': None}}, {'1': [True], 'b': {'c': None}}),
        (np.zeros(2), None),
        ([object()], [None]),
    ],
)
def test_entries_are_what_json_has(value, plain):
    assert export._plain(value) == plain


@pytest.mark.parametrize(
    ('test_cfg', 'window'),
    [
        (
            dict(mode='slide', crop_size=(4, 6), stride=(2, 3)),
            dict(crop_size=[4, 6], stride=[2, 3]),
        ),
        (dict(mode='slide'), dict(crop_size=None, stride=None)),
        (dict(mode='whole', crop_size=(4, 6)), None),
        ({}, None),
        (None, None),
        ([dict(mode='slide')], None),
    ],
)
def test_windows(test_cfg, window):
    assert export._window(SimpleNamespace(test_cfg=test_cfg)) == window
    assert export._window(SimpleNamespace()) is None


COLOURS = dict(type='A', mean=(1.0, 2.0), std=[3.0], to_rgb=True, size=4)


@pytest.mark.parametrize(
    ('cfg', 'found'),
    [
        (dict(model=dict(data_preprocessor=COLOURS), data_preprocessor=dict(type='B')), True),
        (dict(model=dict(type='M'), data_preprocessor=COLOURS), True),
        (dict(data_preprocessor=COLOURS), True),
        (dict(model=None), False),
    ],
)
def test_normalisation(cfg, found):
    expected = dict(type='A', mean=[1.0, 2.0], std=[3.0], to_rgb=True)
    assert export._normalisation(Config(cfg)) == (expected if found else {})


def test_normalisation_in_a_pipeline():
    steps = [dict(type='LoadImageFromFile'), dict(type='mmcv.Normalize', mean=(1.0,), std=(2.0,))]
    cfg = Config(dict(test_dataloader=dict(dataset=dict(type='D', pipeline=steps))))
    made = dict(type='Normalize', to_rgb=True, mean=[1.0], std=[2.0])
    assert export._normalisation(cfg) == made
    cfg.data_preprocessor = dict(type='A', to_rgb=True)
    assert export._normalisation(cfg) == made
    cfg.data_preprocessor.mean = [3.0]
    assert export._normalisation(cfg) == dict(type='A', to_rgb=True, mean=[3.0])


@pytest.mark.parametrize(
    ('checkpoint', 'out', 'form', 'precision', 'words'),
    [
        ('w.pth', 'a.onnx', 'onnx', 'int8', None),
        ('w.pth', 'a.pt2', 'pt2', 'fp32', None),
        ('w.pth', 'a.engine', 'tensorrt', 'fp16', None),
        ('w.onnx', 'a.onnx', 'onnx', 'fp32', r'^w\.onnx is already exported: give the original'),
        ('w.pth', 'a.pt2', 'pt2', 'fp16', r'^--format pt2 is float32 only: use fp16 with ONNX$'),
        (
            'w.pth',
            'a.bin',
            'onnx',
            'fp32',
            r'^a\.bin: the name of an ONNX file must end in \.onnx$',
        ),
    ],
)
def test_what_is_refused_at_once(checkpoint, out, form, precision, words, monkeypatch):
    asked = []
    monkeypatch.setattr(export, 'require_onnx', lambda: asked.append('onnx'))
    monkeypatch.setattr(export, 'require_tensorrt', lambda: asked.append('tensorrt'))
    monkeypatch.setattr(export, 'is_onnx', lambda file: file.endswith('.onnx'))
    with pytest.raises(InputError, match=words) if words else nullcontext():
        export._check(checkpoint, out, form, precision)
        needed = {'onnx': ['onnx'], 'pt2': [], 'tensorrt': ['onnx', 'tensorrt']}
        assert asked == needed[form]


@pytest.mark.parametrize(
    ('free', 'made', 'verified', 'outcome'),
    [
        # which graphs (of any size, of one) can be made, and which of them pass
        ((), (True, True), (True, True), False),
        ((), (False, True), (True, True), True),
        ((), (True, True), (False, True), True),
        (('batch',), (False, True), (True, True), True),
        (('batch',), (True, True), (False, True), True),
        ((), (False, False), (True, True), '^not made True$'),
        (('batch', 'size'), (False, True), (True, True), '^not made False$'),
        ((), (True, True), (False, False), '^differs True$'),
        (('batch',), (True, True), (False, False), '^differs True. If .* without --dynamic batch$'),
        (
            ('batch', 'size'),
            (True, True),
            (False, True),
            '^differs False. If .* --dynamic batch size$',
        ),
    ],
)
def test_a_graph_of_any_size_or_of_one(free, made, verified, outcome, monkeypatch):
    written = []

    def export_onnx(network, size, dynamic, *, opset, at_size):
        assert (network, size, dynamic, opset) == ('network', (4, 6), free, 18)
        if not made[at_size]:
            raise InputError(f'not made {at_size}')
        return at_size

    def check(path, proto, network, entries):
        assert (path, network) == ('path', 'network')
        if not verified[proto]:
            raise InputError(f'differs {proto}')
        return f'verified {proto}'

    monkeypatch.setattr(export, 'export_onnx', export_onnx)
    monkeypatch.setattr(export, '_saved_and_verified', check)
    monkeypatch.setattr(export, 'write_metadata', lambda *given: written.append(given))
    entries = dict(size=[4, 6], free=free, precision='int8')
    with nullcontext() if isinstance(outcome, bool) else pytest.raises(InputError, match=outcome):
        found = export._graph('path', 'network', 18, entries)
        assert found == (outcome, f'verified {outcome}')
        assert written[-1] == (outcome, entries | dict(precision='fp32'))


@pytest.mark.parametrize('passed', [True, False])
@pytest.mark.parametrize('path', [None, 'a.onnx'])
@pytest.mark.parametrize(
    'pictures', [None, SimpleNamespace(example=lambda *shape: ('picture', shape))]
)
def test_a_verification(passed, path, pictures, monkeypatch):
    pytest.importorskip('onnx')
    network = SimpleNamespace(example=lambda *shape: ('noise', shape))
    told = SimpleNamespace(passed=passed, __str__=None)
    asked = []

    def verify(run, *given, bounds, example):
        asked.append((run, *given, bounds, example(1)))
        return told

    monkeypatch.setattr(export, 'verify', verify)
    monkeypatch.setattr('onnx.load', lambda file: f'graph of {file}')
    monkeypatch.setattr(
        export,
        'first_difference',
        lambda graph, net, images, error: f'{graph}, {images[0]}, {error}',
    )
    bounds = export.BOUNDS['fp16']
    entries = dict(size=[32, 48], free=['batch'], precision='fp16')
    kind = 'picture' if pictures else 'noise'
    where = f'; the first layer that differs is graph of a.onnx, {kind}, {bounds.error}$'
    words = rf'^the file differs from PyTorch: .*{where if path else ""}'
    with nullcontext() if passed else pytest.raises(InputError, match=words) as error:
        assert export._verified('run', network, entries, pictures, path) is told
    assert asked == [('run', network, (32, 48), ['batch'], bounds, (kind, (1,)))]
    if not passed:
        assert ('first layer' in str(error.value)) == bool(path)
        assert str(bounds) in str(error.value)
