"""Graphs are written so that OpenVINO computes them as onnxruntime does, where openvino is installed."""

import numpy as np
import pytest
import torch

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from fan_mm.deploy import to_int8  # noqa: E402
from fan_mm.deploy.graph import NAME_SCOPES, scopes_of  # noqa: E402
from fan_mm.deploy.reductions import squeeze_afterwards  # noqa: E402
from fan_mm.engine.onnx_file import open_session, run_session  # noqa: E402

FLOAT = onnx.TensorProto.FLOAT
SHAPE = (2, 16, 12, 8)


def graph(nodes, shape, **constants):
    """A model of one input `images`; its output is the last node's."""
    made = onnx.helper.make_graph(
        [onnx.helper.make_node(op, i.split(), [o], name=o, **more) for op, i, o, more in nodes],
        'graph',
        [onnx.helper.make_tensor_value_info('images', FLOAT, shape)],
        [onnx.helper.make_tensor_value_info(nodes[-1][2], FLOAT, None)],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [onnx.helper.make_opsetid('', 18)]
    return onnx.shape_inference.infer_shapes(
        onnx.helper.make_model(made, opset_imports=opset, ir_version=9)
    )


def pictures(shape, count=1):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def constant(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def computed(proto, images):
    return run_session(open_session(proto.SerializeToString()), images)[0]


@pytest.fixture(scope='module')
def by_openvino():
    """Its output for images."""
    core = pytest.importorskip('openvino').Core()
    options = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': 1}

    def run(proto, images):
        model = core.read_model(proto.SerializeToString())
        return core.compile_model(model, 'CPU', options)([images.numpy()])[0]

    return run


def reduction(then='Add', op='ReduceSum'):
    """The last of three axes is reduced, and each channel gets a constant."""
    return graph(
        [
            (op, 'images axes', 'sum', dict(keepdims=0)),
            (then, 'sum constant', 'scores', {}),
        ],
        (5, 16, 32),
        axes=np.array([-1]),
        constant=constant(16),
    )


@pytest.mark.parametrize('then', ['Add', 'Mul', 'PRelu'])
@pytest.mark.parametrize('op', ['ReduceSum', 'ReduceMean', 'ReduceL2', 'ReduceMax'])
def test_reductions_are_squeezed_afterwards(op, then):
    proto = reduction(then, op=op)
    proto.graph.node[0].metadata_props.add(key=NAME_SCOPES, value="['', 'head', 'sum']")
    (images,) = pictures((5, 16, 32))
    expected = computed(proto, images)
    squeeze_afterwards(proto)
    onnx.checker.check_model(proto, full_check=True)
    assert [node.op_type for node in proto.graph.node] == [op, 'Squeeze', then]
    reduces, squeezes, _ = proto.graph.node
    assert reduces.attribute[0].i == 1 and scopes_of(squeezes) == scopes_of(reduces) == ['', 'head']
    np.testing.assert_array_equal(computed(proto, images), expected)


def test_no_reduction_of_an_exported_file_drops_its_axes(exported):
    nodes = [n for n in onnx.load(str(exported[0])).graph.node if n.op_type.startswith('Reduce')]
    assert nodes and all(a.i for n in nodes for a in n.attribute if a.name == 'keepdims')


def convolution(around, padded=1):
    """What lies around convolutions in segmentation heads, and is quantised with them."""
    conv = dict(pads=[1] * 4)
    if around == 'Concat':
        nodes = [
            ('Relu', 'images', 'rest', {}),
            ('Concat', 'images rest', 'maps', dict(axis=1)),
            ('Conv', 'maps weight', 'logits', conv),
        ]
        return graph(nodes, ['batch', *SHAPE[1:]], weight=constant(16, 32, 3, 3))
    pool = dict(kernel_shape=[3, 3], pads=[padded] * 4, count_include_pad=1)
    nodes = [
        ('Conv', 'images weight', 'features', conv),
        ('AveragePool', 'features', 'maps', pool),
        ('Conv', 'maps weight', 'logits', conv),
    ]
    return graph(nodes, ['batch', *SHAPE[1:]], weight=constant(16, 16, 3, 3))


def quantised(around, **options):
    # brighter than dark: what is rounded has a zero point far from zero
    shown = [images.abs() for images in pictures((1, *SHAPE[1:]), 4)]
    return to_int8(convolution(around, **options), iter(shown))[0]


@pytest.mark.parametrize('around', ['Concat', 'AveragePool'])
def test_activations_are_unsigned(around):
    proto = quantised(around)
    types = {w.name: w.data_type for w in proto.graph.initializer}
    nodes = [node for node in proto.graph.node if node.op_type == 'QuantizeLinear']
    assert nodes and {types[node.input[2]] for node in nodes} == {onnx.TensorProto.UINT8}


@pytest.mark.parametrize('padded', [0, 1])
def test_averages_over_padding_take_what_was_not_rounded(padded):
    proto = quantised('AveragePool', padded=padded)
    makers = {name: node.op_type for node in proto.graph.node for name in node.output}
    (pool,) = (node for node in proto.graph.node if node.op_type == 'AveragePool')
    assert makers[pool.input[0]] == ('Conv' if padded else 'DequantizeLinear')


@pytest.mark.parametrize('around', ['Concat', 'AveragePool'])
def test_openvino_computes_eight_bits_as_onnxruntime(by_openvino, around):
    proto = quantised(around)
    images = pictures(SHAPE)[0].abs()
    expected = computed(proto, images)
    off = np.abs(by_openvino(proto, images) - expected).max() / np.abs(expected).max()
    assert off < 0.02


@pytest.mark.parametrize('then', ['Add', 'Mul', 'PRelu'])
def test_openvino_adds_to_the_right_channels(by_openvino, then):
    proto = reduction(then)
    (images,) = pictures((5, 16, 32))
    expected = computed(proto, images)
    squeeze_afterwards(proto)
    np.testing.assert_allclose(by_openvino(proto, images), expected, atol=1e-4)


def test_openvino_computes_an_exported_file(by_openvino, exported):
    file, *_ = exported
    proto = onnx.load(str(file))
    images = torch.randn(3, 3, 49, 96, generator=torch.Generator().manual_seed(0))
    expected = computed(proto, images)
    off = np.abs(by_openvino(proto, images) - expected).max() / np.abs(expected).max()
    assert off < 1e-4


@pytest.mark.parametrize('size', [(80, 112)])
def test_openvino_converts_a_backbone_itself(by_openvino, size):
    """Without an export of ours, traced at another size."""
    import openvino
    from small_models import COLUMN, randomise

    from fan_mm.models.backbones import FANViT

    model = randomise(FANViT(arch=COLUMN, out_type='cls_token')).eval()
    converted = openvino.convert_model(model, example_input=(torch.randn(1, 3, 64, 96),))
    options = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': 1}
    run = openvino.compile_model(converted, 'CPU', options)
    (images,) = pictures((2, 3, *size))
    with torch.no_grad():
        expected = model(images)[0].numpy()
    np.testing.assert_allclose(run([images.numpy()])[0], expected, atol=1e-4)
