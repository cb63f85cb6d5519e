"""Half precision and eight bits: made of a verified graph, verified themselves, and said what they are."""

import json

import numpy as np
import pytest
import torch
from small_models import segmenter, weights

from fan_mm.errors import InputError

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')
pytest.importorskip('mmpretrain')
pytest.importorskip('mmseg')

from fan_mm.deploy import BOUNDS, to_half, to_int8  # noqa: E402
from fan_mm.engine.onnx_file import open_session, run_session  # noqa: E402
from fan_mm.jobs import export as jobs_export  # noqa: E402

export, verify_file = jobs_export.export, jobs_export.verify_file

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


def types_of(proto):
    proto = onnx.shape_inference.infer_shapes(proto)
    values = (*proto.graph.value_info, *proto.graph.input, *proto.graph.output)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {weight.name: weight.data_type for weight in proto.graph.initializer}


def entries(file):
    props = onnx.load(str(file)).metadata_props
    return {e.key.removeprefix('fan_mm.'): json.loads(e.value) for e in props if 'fan_mm' in e.key}


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return weights(segmenter(), tmp_path_factory.mktemp('weights') / 'w.pth')


@pytest.fixture(scope='module')
def half(checkpoint, tmp_path_factory):
    file = tmp_path_factory.mktemp('half') / 'm.onnx'
    options = dict(free=('batch', 'size'), precision='fp16', preprocessing=True)
    return file, export(segmenter(), checkpoint, file, (64, 96), **options)


def test_half_precision_multiplies_in_float16_and_keeps_the_rest(half):
    file, found = half
    assert found.passed and BOUNDS['fp32'].error < found.error < BOUNDS['fp16'].error
    assert found.agreement > 0.98 and len(found.shapes) == 5
    graph = onnx.load(str(file)).graph
    types = types_of(onnx.load(str(file)))
    for node in graph.node:
        if node.op_type in ('Conv', 'MatMul', 'Gemm', 'Einsum'):
            assert types[node.output[0]] == HALF, node.name
        if node.op_type in ('Softmax', 'LayerNormalization', 'BatchNormalization', 'Sin', 'Cos'):
            assert types[node.input[0]] == types[node.output[0]] == FLOAT, node.name
    assert graph.output[0].type.tensor_type.elem_type == FLOAT
    weights = [w for w in graph.initializer if w.dims and np.prod(w.dims) > 64]
    assert {HALF} == {w.data_type for w in weights if 'conv' in w.name}
    told = entries(file)
    assert told['precision'] == 'fp16' and told['verification']['error'] == found.error
    assert told['kept_in_float32']['softmax'] == 3
    assert {'norms', 'position code', 'pixels and scores'} <= told['kept_in_float32'].keys()


def test_half_precision_is_verified_later_by_its_own_bounds(half, checkpoint, tmp_path):
    file, found = half
    assert verify_file(segmenter(), checkpoint, file).error == pytest.approx(found.error)
    proto = onnx.load(str(file))
    weight = next(w for w in proto.graph.initializer if w.name.endswith('conv_seg.weight'))
    weight.CopyFrom(
        onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 2, weight.name)
    )
    onnx.save(proto, str(tmp_path / 'changed.onnx'))
    with pytest.raises(InputError, match=r'at most 0\.02 and at least 98 % are required'):
        verify_file(segmenter(), checkpoint, tmp_path / 'changed.onnx')


def chain():
    """A graph of a product with weights, and one between activations."""
    helper = onnx.helper
    w = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    nodes = [
        helper.make_node('MatMul', ['images', 'w'], ['a'], name='weights'),
        helper.make_node('MatMul', ['a', 'images'], ['b'], name='attention'),
        helper.make_node('Softmax', ['b'], ['c'], name='softmax'),
    ]
    graph = helper.make_graph(
        nodes,
        'chain',
        [helper.make_tensor_value_info('images', FLOAT, [1, 8, 8])],
        [helper.make_tensor_value_info('c', FLOAT, [1, 8, 8])],
        [onnx.numpy_helper.from_array(w, 'w')],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)


@pytest.mark.parametrize('make', ['half', 'int8'])
def test_the_graph_in_float32_stays_as_it_is(make):
    proto = chain()
    before = proto.SerializeToString()
    pictures = list(torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    made, kept = to_half(proto) if make == 'half' else to_int8(proto, iter(pictures))
    assert proto.SerializeToString() == before
    assert kept == ({'softmax': 1} if make == 'half' else {'MatMul': 1})
    expected, found = (
        run_session(open_session(p.SerializeToString()), pictures[0])[0] for p in (proto, made)
    )
    assert 0 < np.abs(expected - found).max() < 0.1


@pytest.mark.parametrize(
    ('op', 'scopes', 'why'),
    [
        ('Add', None, None),
        ('Add', ['', 'backbone.blocks.0', 'add'], None),
        ('Add', ['', 'backbone.positive', 'add'], None),
        ('Add', ['', 'backbone.pos_embed', 'add'], 'position code'),
        ('Add', ['', 'attn.rel_pos', 'attn.rel_pos.bias', 'add'], 'position code'),
        ('Add', ['', 'add'], 'pixels and scores'),
        ('Pow', ['', 'backbone.blocks.0', 'pow'], 'sums and means'),
    ],
)
def test_what_stays_in_float32_by_operator_and_layer(op, scopes, why):
    helper, w = onnx.helper, np.eye(8, dtype=np.float32)
    nodes = [
        helper.make_node('MatMul', ['images', 'w'], ['a']),
        helper.make_node(op, ['a', 'w'], ['b'], name='middle'),
        helper.make_node('MatMul', ['b', 'w'], ['c']),
    ]
    if scopes:
        nodes[1].metadata_props.add(key='pkg.torch.onnx.name_scopes', value=str(scopes))
    given, made = ([helper.make_tensor_value_info(name, FLOAT, [8, 8])] for name in ('images', 'c'))
    graph = helper.make_graph(nodes, 'g', given, made, [onnx.numpy_helper.from_array(w, 'w')])
    opset = [helper.make_opsetid('', 18)]
    half, kept = to_half(helper.make_model(graph, opset_imports=opset, ir_version=9))
    types = types_of(half)
    found = {node.name or node.op_type: types[node.output[0]] for node in half.graph.node}
    assert found['middle'] == (FLOAT if why else HALF) and kept == ({why: 1} if why else {})
    products = [types[n.output[0]] for n in half.graph.node if n.op_type == 'MatMul']
    assert products == [HALF, HALF] and types['images'] == types['c'] == FLOAT


def test_attention_as_one_node_has_its_softmax_in_float32():
    helper, shape = onnx.helper, [1, 3, 8]
    node = helper.make_node('Attention', [*'qkv'], ['y'], q_num_heads=2, kv_num_heads=2)
    given, made = (
        [helper.make_tensor_value_info(name, FLOAT, shape) for name in names]
        for names in ('qkv', 'y')
    )
    opset = [helper.make_opsetid('', 23)]
    proto = helper.make_model(helper.make_graph([node], 'g', given, made), opset_imports=opset)
    half, kept = to_half(proto)
    (node,) = (node for node in half.graph.node if node.op_type == 'Attention')
    options = {entry.name: entry.i for entry in node.attribute}
    assert options['softmax_precision'] == FLOAT and kept == {'softmax': 1}


def test_eight_bits_have_a_scale_for_each_channel():
    pictures = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    made, _ = to_int8(chain(), pictures)
    arrays = {w.name: onnx.numpy_helper.to_array(w) for w in made.graph.initializer}
    makers = {name: node for node in made.graph.node for name in node.output}
    product = next(node for node in made.graph.node if node.name == 'weights')
    quantised, scale = makers[product.input[1]].input[:2]
    assert arrays[quantised].dtype == np.int8 and arrays[scale].shape == (8,)
    assert makers[product.input[0]].op_type == 'DequantizeLinear'  # so it is one of integers
    attention = next(node for node in made.graph.node if node.name == 'attention')
    assert not any(makers[n].op_type == 'DequantizeLinear' for n in attention.input if n in makers)


@pytest.mark.usefixtures('traced_once')
def test_eight_bits_are_calibrated_on_the_training_split(toy, tmp_path, monkeypatch):
    """Evenly over it, and verified on pictures of it that calibration did not see."""
    from fan_mm.deploy import TrainingPictures

    config, checkpoint = toy
    seen = []
    load = TrainingPictures.get_data_info

    def get(self, place):
        info = load(self, place)
        seen.append((place, info['img_path']))
        return info

    monkeypatch.setattr(TrainingPictures, 'get_data_info', get)
    file = tmp_path / 'm.onnx'
    options = dict(free=('batch',), precision='int8', calibration_images=6)
    found = export(config(), checkpoint, file, (64, 64), **options)
    assert found.passed and found.agreement >= BOUNDS['int8'].agreement and found.error > 1e-3
    assert all('/train/' in path for _, path in seen)
    places = dict.fromkeys(place for place, _ in seen)
    assert sorted(places) == [i * 20 // 10 for i in range(10)]  # 6, and 4 to verify with
    told = entries(file)
    assert told['precision'] == 'int8' and told['calibration_images'] == 6
    assert told['kept_in_float32'] == {'MatMul of activations': 6}
    assert verify_file(config(), checkpoint, file).error == pytest.approx(found.error)
    assert [p.name for p in tmp_path.iterdir()] == ['m.onnx']


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        (lambda cfg: cfg.pop('train_dataloader'), {}, 'no train_dataloader with a dataset'),
        (
            lambda cfg: cfg.train_dataloader.dataset.update(data_root='nowhere'),
            {},
            '--precision int8: the training split cannot be read: ',
        ),
        (lambda cfg: None, dict(calibration_images=0), 'at least one is needed'),
        (lambda cfg: None, dict(form='pt2'), '--format pt2 is float32'),
        (
            lambda cfg: cfg.train_dataloader.dataset.update(indices=1),
            {},
            'needs two images of the training split, but there are 1',
        ),
    ],
)
def test_what_cannot_be_quantised_is_one_line(toy, tmp_path, change, options, message):
    config, checkpoint = toy
    cfg = config()
    change(cfg)
    options = dict(precision='int8') | options
    with pytest.raises(InputError, match=message) as error:
        export(cfg, checkpoint, tmp_path / 'm.onnx', (64, 64), **options)
    assert '\n' not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures('traced_once')
def test_nonsense_is_refused(toy, tmp_path, monkeypatch):
    """Calibrated on what pictures never are, hardly a class is right."""
    from fan_mm.deploy import TrainingPictures

    def dark(self, height, width):
        yield torch.full((1, 3, height, width), 1e-4)

    monkeypatch.setattr(TrainingPictures, 'calibration', dark)
    config, checkpoint = toy
    with pytest.raises(InputError, match='at least 90 % are required'):
        options = dict(free=('batch',), precision='int8')
        export(config(), checkpoint, tmp_path / 'm.onnx', (64, 64), **options)
    assert not list(tmp_path.iterdir())
