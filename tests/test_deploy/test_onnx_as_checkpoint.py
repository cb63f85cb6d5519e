"""An ONNX file in a checkpoint's place: the same numbers, or one line that says why not."""

import pytest
import torch
from mmengine.config import Config
from plain_networks import Plain
from small_models import COLUMN, segmenter, segmenter_sample, weights

from fan_mm.engine.onnx_file import external_files
from fan_mm.errors import InputError
from fan_mm.evaluation.identity import file_sha256
from fan_mm.jobs.export import export

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')
DataSample = pytest.importorskip('mmpretrain.structures').DataSample
pytest.importorskip('mmseg')


def test_too_little_memory_is_not_called_a_wrong_shape():
    from fan_mm.engine.onnx_file import run_session

    class Session:
        def get_inputs(self):
            return [onnx.helper.make_tensor_value_info('images', 1, [1, 3, 8, 8])]

        def run(self, *_):
            raise RuntimeError('[ONNXRuntimeError] Failed to allocate memory for requested buffer')

    with pytest.raises(InputError, match=r'not enough memory for \[1, 3, 8, 8\]'):
        run_session(Session(), torch.zeros(1, 3, 8, 8))


def test_in_a_checkpoints_place(exported):
    """The task's own post-processing, sliding windows too, on scores of onnxruntime."""
    from fan_mm.engine.predictor import Predictor

    file, checkpoint, _ = exported
    image = torch.randint(0, 256, (3, 90, 70), generator=torch.Generator().manual_seed(0))
    for test_cfg in (dict(mode='whole'), dict(mode='slide', crop_size=(64, 64), stride=(30, 30))):
        scores = []
        for source in (checkpoint, str(file)):
            cfg = segmenter()
            cfg.model.test_cfg = test_cfg
            predictor = Predictor(cfg, source)
            assert predictor.metainfo['classes'] == tuple('abcd')
            sample = predictor(dict(inputs=image.byte(), data_samples=segmenter_sample(90, 70)))
            scores.append(sample.seg_logits.data)
        torch.testing.assert_close(*scores, atol=1e-3, rtol=1e-3)


def test_a_model_of_grey_images(tmp_path):
    from fan_mm.analysis.complexity import complexity_of_config
    from fan_mm.engine.predictor import Predictor

    def lenet():
        return Config(
            dict(
                default_scope='mmpretrain',
                data_preprocessor=dict(mean=[33.46], std=[78.87], num_classes=10),
                model=dict(
                    type='ImageClassifier',
                    backbone=dict(type='LeNet5'),
                    neck=dict(type='GlobalAveragePooling'),
                    head=dict(type='LinearClsHead', num_classes=10, in_channels=120),
                ),
            )
        )

    checkpoint, file = weights(lenet(), tmp_path / 'w.pth'), tmp_path / 'lenet.onnx'
    export(lenet(), checkpoint, file, (32, 32))
    image = torch.randint(0, 256, (1, 32, 32), generator=torch.Generator().manual_seed(0))
    scores = [
        Predictor(lenet(), source)(dict(inputs=image.byte(), data_samples=DataSample())).pred_score
        for source in (checkpoint, str(file))
    ]
    torch.testing.assert_close(*scores, atol=1e-4, rtol=1e-4)
    assert scores[0].max() > 0.15
    for size, options, words in (
        ((32, 32), dict(preprocessing=True), 'RGB images, but the model takes 1 channels'),
        ((8, 8), {}, 'does not accept 8x8 pixels: Calculated padded input size'),
    ):
        with pytest.raises(InputError, match=words):
            export(lenet(), checkpoint, file, size, **options)
    # 28x28 places of 6 kernels of 25, and so on
    assert complexity_of_config(lenet(), (32, 32)).flops['backbone.features.0'] == 28 * 28 * 6 * 25


def test_a_file_of_another_model_is_refused(exported):
    from fan_mm.engine.predictor import Predictor

    with pytest.raises(InputError, match='scores for 4 classes, the config has 7'):
        Predictor(segmenter(num_classes=7), str(exported[0]))
    from fan_mm.engine.onnx_file import read_onnx, use_onnx

    with pytest.raises(InputError, match='but Plain is neither'):  # as a detector
        use_onnx(Plain(), read_onnx(exported[0]), 'model.onnx')
    vit = segmenter(dict(type='FANViT', arch=COLUMN, out_indices=(0, 0, 0, 1)[2:]), in_index=[0, 1])
    vit.model.decode_head.in_channels = [16, 16]
    with pytest.raises(InputError, match='FANHybrid, the config has FANViT'):
        Predictor(vit, str(exported[0]))


@pytest.mark.parametrize(
    ('place', 'value', 'message'),
    [
        (
            'data_preprocessor.mean',
            [0, 0, 0],
            r'mean for its pixels is \[123\.7.* data_preprocessor \[0\.0',
        ),
        ('data_preprocessor.std', [1, 1, 1], r'std for its pixels is \[58\.4'),
        ('data_preprocessor.bgr_to_rgb', False, 'swaps red and blue differently'),
        ('backbone.arch.num_heads', 4, 'num_heads of its FANHybrid is 2, the config has 4'),
        ('data_preprocessor.pad_val', 7, None),
        ('test_cfg.mode', 'slide', None),
    ],
)
def test_a_config_that_does_not_fit_the_file(exported, place, value, message):
    from fan_mm.engine.predictor import Predictor

    cfg = segmenter()
    cfg.merge_from_dict({f'model.{place}': value})
    if message is None:
        Predictor(cfg, str(exported[0]))
        return
    with pytest.raises(InputError, match=f'does not match the model of the config: .*{message}'):
        Predictor(cfg, str(exported[0]))


FLOAT = onnx.TensorProto.FLOAT


def argmax(proto):
    """Classes where there were scores, as deployment tools append it."""
    graph = proto.graph
    graph.node.append(onnx.helper.make_node('ArgMax', [graph.output[0].name], ['classes'], axis=1))
    del graph.output[:]
    shape = ['batch', 1, 'height', 'width']
    graph.output.append(
        onnx.helper.make_tensor_value_info('classes', onnx.TensorProto.INT64, shape)
    )


def probabilities(proto):
    graph = proto.graph
    graph.node.append(onnx.helper.make_node('Softmax', [graph.output[0].name], ['scores'], axis=1))
    graph.output[0].name = 'scores'


def bytes_first(proto):
    graph = proto.graph
    graph.node.insert(0, onnx.helper.make_node('Cast', ['bytes'], ['images'], to=FLOAT))
    graph.input[0].name, graph.input[0].type.tensor_type.elem_type = 'bytes', onnx.TensorProto.UINT8


def channels_last(proto):
    graph = proto.graph
    node = onnx.helper.make_node('Transpose', ['pixels'], ['images'], perm=[0, 3, 1, 2])
    graph.node.insert(0, node)
    del graph.input[:]
    shape = ['batch', 'height', 'width', 3]
    graph.input.append(onnx.helper.make_tensor_value_info('pixels', FLOAT, shape))


def features_first(proto):
    scores = proto.graph.output.pop()
    node = next(node for node in proto.graph.node if node.op_type == 'Relu')
    proto.graph.output.add(name=node.output[0])
    proto.graph.output.append(scores)


def half(proto):
    from onnxruntime.transformers.float16 import convert_float_to_float16

    proto.CopyFrom(convert_float_to_float16(proto, keep_io_types=False))


def four_images(proto):
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 4


def other_name(proto):
    for node in proto.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = 'x' if name == 'images' else name
    proto.graph.input[0].name = 'x'


def without_metadata(proto):
    del proto.metadata_props[:]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (argmax, r'gives classes tensor\(int64\)'),
        (probabilities, r'gives scores tensor\(float\)'),
        (bytes_first, r'takes bytes tensor\(uint8\)'),
        (channels_last, r"takes pixels tensor\(float\) \['batch', 'height', 'width', 3\]"),
        (features_first, r'gives \S+ tensor\(float\) .*, logits tensor'),
        (without_metadata, 'was not exported by fan_mm'),
        (half, None),
        (four_images, None),
        (other_name, None),
    ],
)
def test_a_file_that_somebody_changed_is_right_or_refused(exported, tmp_path, change, message):
    from fan_mm.engine.predictor import Predictor

    proto = onnx.load(str(exported[0]))
    change(proto)
    file = tmp_path / 'changed.onnx'
    onnx.save(proto, str(file))
    if message:
        with pytest.raises(InputError, match=message) as error:
            Predictor(segmenter(), str(file))
        assert '\n' not in str(error.value)
        return
    images = torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = (
            Predictor(segmenter(), source).model(images) for source in (exported[1], str(file))
        )
    expected = torch.nn.functional.interpolate(expected, (64, 96), mode='bilinear')
    torch.testing.assert_close(found, expected, atol=0.02 * float(expected.abs().max()), rtol=0)


def test_weights_beside_the_graph_belong_to_it(exported, tmp_path):
    file, weights_file = tmp_path / 'm.onnx', tmp_path / 'weights of m.bin'
    options = dict(save_as_external_data=True, location=weights_file.name, size_threshold=64)
    onnx.save(onnx.load(str(exported[0])), str(file), **options)
    assert external_files(file) == [weights_file] and external_files(exported[0]) == []
    before = file_sha256(file)
    data = bytearray(weights_file.read_bytes())
    data[100] ^= 1
    weights_file.write_bytes(data)
    assert file_sha256(file) != before


@pytest.mark.slow
@pytest.mark.usefixtures('traced_once')
def test_tables_of_the_file_equal_pytorchs(toy, tmp_path):
    """What tools/test.py and tools/test_corruption.py find, with a file of any batch and one size."""
    from fan_mm.jobs.robustness import evaluate_robustness
    from fan_mm.jobs.training import test

    toys_config, checkpoint = toy

    def config(name):
        cfg = toys_config()
        cfg.work_dir = str(tmp_path / name)
        return cfg

    file = str(tmp_path / 'm.onnx')
    assert export(config('export'), checkpoint, file, (64, 64), free=('batch',)).passed
    clean, tables, losses = [], [], []
    for name, source in (('torch', checkpoint), ('onnx', file)):
        clean.append(test(config(name), source))
        cells = dict(corruptions=['fog', 'pixelate'], severities=[3], calibration=True)
        results = evaluate_robustness(config(name), source, tmp_path / f'{name}-sweep', **cells)
        assert all(cell['status'] == 'done' for cell in results['cells'])
        tables.append([cell['metrics'] for cell in results['cells']])
        losses.append([c['calibration']['plain']['NLL']['value'] for c in results['cells']])
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    assert clean[0] == pytest.approx(clean[1], abs=0.05)
    for ours, theirs in zip(*tables, strict=True):
        assert ours == pytest.approx(theirs, abs=0.05)
