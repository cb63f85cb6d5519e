"""What is exported computes what PyTorch does, at sizes that were not traced, or is not there."""

import json
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from small_models import BACKBONES, COLUMN, NORM, STEM, classifier, segmenter, weights

import fan_mm
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')
pytest.importorskip('mmpretrain')
pytest.importorskip('mmseg')

from fan_mm.deploy import Network, export_onnx, verify  # noqa: E402
from fan_mm.deploy.verification import BOUNDS  # noqa: E402
from fan_mm.engine.onnx_file import external_files  # noqa: E402
from fan_mm.evaluation.identity import file_sha256  # noqa: E402
from fan_mm.jobs import export as jobs_export  # noqa: E402

export, verify_file = jobs_export.export, jobs_export.verify_file


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """A segmenter's file with everything free, its config's maker and its checkpoint."""
    folder = tmp_path_factory.mktemp('export')
    checkpoint = weights(segmenter(), folder / 'weights.pth')
    file = folder / 'model.onnx'
    found = export(segmenter(), checkpoint, file, (64, 96), free=('batch', 'size'))
    return file, checkpoint, found


def graph_of(file):
    return onnx.load(str(file)).graph


def run(file, images):
    session = onnxruntime.InferenceSession(str(file), providers=['CPUExecutionProvider'])
    return session.run(None, {'images': images})[0]


def test_verified_at_sizes_and_batches_that_were_not_traced(exported):
    file, _, found = exported
    assert found.passed and found.error < 1e-4 and found.agreement > 0.999
    assert found.shapes[0] == (1, 64, 96)
    assert {batch for batch, *_ in found.shapes} == {1, 3}
    assert len({height / width for _, height, width in found.shapes}) == 4
    assert not list(file.parent.glob('.*'))


def test_the_file_says_what_it_is(exported):
    file, _, found = exported
    entries = {e.key: json.loads(e.value) for e in onnx.load(str(file)).metadata_props}
    assert entries['fan_mm.version'] == fan_mm.__version__
    assert entries['fan_mm.backbone'] == 'FANHybrid'
    assert entries['fan_mm.arch']['embed_dims'] == 16
    assert entries['fan_mm.classes'] == list('abcd')
    assert entries['fan_mm.palette'][3] == [3, 3, 3]
    assert entries['fan_mm.normalisation']['mean'] == NORM['mean']
    assert entries['fan_mm.normalisation']['bgr_to_rgb'] is True
    assert entries['fan_mm.parameters'] > 1000 and entries['fan_mm.window'] is None
    assert entries['fan_mm.threshold'] is None
    assert len(entries['fan_mm.checkpoint_sha256']) == 64
    assert entries['fan_mm.verification']['error'] == found.error
    assert b'/site-packages/' not in file.read_bytes()  # nothing of this machine
    assert str(file.parent).encode() not in file.read_bytes()


def test_nothing_of_training_is_left(exported):
    """Batch norms behind a convolution are folded; those behind FAN's GELU have none to go into."""
    graph = graph_of(exported[0])
    makers = {name: node for node in graph.node for name in node.output}
    norms = [n for n in graph.node if n.op_type == 'BatchNormalization']
    assert all(makers[norm.input[0]].op_type != 'Conv' for norm in norms)
    assert not {'Dropout', 'RandomUniform'} & {node.op_type for node in graph.node}
    assert [d.dim_param for d in graph.input[0].type.tensor_type.shape.dim] == [
        'batch',
        '',
        'height',
        'width',
    ]


def test_a_changed_weight_is_caught_and_its_layer_named(exported, tmp_path):
    file, checkpoint, _ = exported
    assert verify_file(segmenter(), checkpoint, file).passed
    proto = onnx.load(str(file))
    weight = next(w for w in proto.graph.initializer if w.name.endswith('fusion_conv.conv.weight'))
    array = onnx.numpy_helper.to_array(weight).copy()
    array.flat[0] += 5
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    onnx.save(proto, str(tmp_path / 'changed.onnx'))
    with pytest.raises(InputError, match=r'first layer that differs is model\.decode_head\.fusion'):
        verify_file(segmenter(), checkpoint, tmp_path / 'changed.onnx')


def test_other_weights_than_the_files_are_caught(exported, tmp_path):
    other = weights(segmenter(), tmp_path / 'other.pth', seed=1)
    with pytest.raises(InputError, match='differs from PyTorch'):
        verify_file(segmenter(), other, exported[0])


def test_a_failed_verification_leaves_the_old_file(exported, tmp_path, monkeypatch):
    _, checkpoint, _ = exported
    old = tmp_path / 'model.onnx'
    old.write_bytes(b'old')
    proto = onnx.load(str(exported[0]))
    weight = next(w for w in proto.graph.initializer if w.name.endswith('conv_seg.weight'))
    weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name))
    monkeypatch.setattr(jobs_export, 'export_onnx', lambda *_, **__: proto)
    with pytest.raises(InputError, match='differs from PyTorch'):
        export(segmenter(), checkpoint, old, (64, 96), free=('batch', 'size'))
    assert old.read_bytes() == b'old'
    assert [p.name for p in tmp_path.iterdir()] == ['model.onnx']


def test_labels_of_a_picture_need_nothing_of_ours(exported, tmp_path):
    """uint8 RGB in, uint8 classes out, as mmseg predicts them for the BGR picture."""
    _, checkpoint, _ = exported
    file = tmp_path / 'labels.onnx'
    options = dict(free=('size',), output='labels', preprocessing=True)
    export(segmenter(), checkpoint, file, (64, 64), **options)
    rgb = np.random.default_rng(0).integers(0, 256, (80, 61, 3), dtype=np.uint8)
    labels = run(file, rgb[None])
    assert labels.dtype == np.uint8 and labels.shape == (1, 80, 61)
    cfg = segmenter()
    register_task_library(cfg)
    from fan_mm.engine.predictor import Predictor

    predictor = Predictor(cfg, checkpoint)
    bgr = torch.from_numpy(np.ascontiguousarray(rgb[..., ::-1])).permute(2, 0, 1)
    sample = predictor(dict(inputs=bgr, data_samples=_sample(80, 61)))
    found = sample.pred_sem_seg.data[0].numpy()
    assert (found == labels[0]).mean() > 0.999
    assert len(np.unique(labels)) > 1


def _sample(height, width):
    from mmseg.structures import SegDataSample

    meta = dict(ori_shape=(height, width), img_shape=(height, width), pad_shape=(height, width))
    return SegDataSample(metainfo=meta)


def test_classifiers(tmp_path):
    """Of one image and size; in a checkpoint's place it takes a batch image by image."""
    from fan_mm.engine.predictor import Predictor

    checkpoint = weights(classifier(), tmp_path / 'w.pth')
    file = tmp_path / 'm.onnx'
    assert export(classifier(), checkpoint, file, (64, 64)).passed
    shape = graph_of(file).input[0].type.tensor_type.shape.dim
    assert [d.dim_value for d in shape] == [1, 3, 64, 64]
    images = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    scores = []
    for source in (checkpoint, str(file)):
        model = Predictor(classifier(), source).model
        with torch.no_grad():
            samples = model.test_step(dict(inputs=images.byte(), data_samples=None))
        scores.append(torch.stack([sample.pred_score for sample in samples]))
    torch.testing.assert_close(*scores, atol=1e-4, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(  # FAN-Hybrid's are exported above
    'backbone',
    [*sorted(BACKBONES.keys() - {'hybrid'}), pytest.param('hybrid', marks=pytest.mark.campaign)],
)
def test_probabilities_of_classifiers_of_any_size(backbone, tmp_path):
    checkpoint = weights(classifier(backbone), tmp_path / 'w.pth')
    options = dict(free=('batch', 'size'), output='probabilities')
    found = export(classifier(backbone), checkpoint, tmp_path / 'm.onnx', (64, 96), **options)
    assert found.passed and {batch for batch, *_ in found.shapes} == {1, 3}


@pytest.mark.slow
@pytest.mark.parametrize(
    'head', ['SETRUPHead', pytest.param('FCNHead', marks=pytest.mark.campaign)]
)
def test_segmenters_on_fan_vit(head, tmp_path):
    vit = dict(type='FANViT', arch=COLUMN, out_indices=(0, 1))
    options = dict(type=head, in_channels=16, in_index=-1, norm_cfg=dict(type='BN'))
    if head == 'SETRUPHead':
        options |= dict(num_convs=1, up_scale=2, kernel_size=3)
    cfg = segmenter(vit, **options)
    checkpoint = weights(segmenter(vit, **options), tmp_path / 'w.pth')
    assert export(cfg, checkpoint, tmp_path / 'm.onnx', (64, 96), free=('batch', 'size')).passed


@pytest.mark.slow
def test_networks_of_timm(tmp_path):
    """As a whole classifier: exported, and in its checkpoint's place."""
    pytest.importorskip('timm')
    from fan_mm.engine.predictor import Predictor

    def config():
        cfg = classifier()
        cfg.model = dict(type='TimmClassifier', model_name='test_resnet', num_classes=5)
        return cfg

    checkpoint, file = weights(config(), tmp_path / 'w.pth'), str(tmp_path / 'm.onnx')
    assert export(config(), checkpoint, file, (64, 64), free=('batch',)).passed
    entries = {e.key: json.loads(e.value) for e in onnx.load(file).metadata_props}
    assert entries['fan_mm.backbone'] == 'ResNet' and entries['fan_mm.parameters'] > 1e5
    assert entries['fan_mm.normalisation']['mean'] == NORM['mean']
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(
            *(Predictor(config(), source).model(images) for source in (checkpoint, file)),
            atol=1e-4,
            rtol=1e-3,
        )
    other = config()
    other.model.num_classes = 6
    with pytest.raises(InputError, match='parameters'):
        Predictor(other, file)


@pytest.mark.slow
def test_features(tmp_path):
    checkpoint = weights(segmenter(), tmp_path / 'w.pth')
    found = export(
        segmenter(), checkpoint, tmp_path / 'm.onnx', (64, 96), free=('size',), part='features'
    )
    assert found.passed and found.agreement is None
    assert len(graph_of(tmp_path / 'm.onnx').output) == 4


# ------------------------------------------------------------------------------------ mistakes


ENTRIES = (
    *(
        'version',
        'task',
        'backbone',
        'arch',
        'config',
        'config_sha256',
        'checkpoint_sha256',
        'input',
    ),
    *(
        'parameters',
        'preprocessing',
        'normalisation',
        'output',
        'part',
        'size',
        'free',
        'precision',
    ),
    *('calibration_images', 'classes', 'palette', 'verification'),
)


def told(source, file, changes):
    """Copy a file whose metadata say something else; None takes an entry out."""
    proto = onnx.load(str(source))
    kept = {e.key: e.value for e in proto.metadata_props}
    kept |= {f'fan_mm.{name}': value for name, value in changes.items()}
    del proto.metadata_props[:]
    for key, value in kept.items():
        if value is not None:
            proto.metadata_props.add(key=key, value=value)
    onnx.save(proto, str(file))


class Plain(BaseModel):
    """A model with a backbone that is none of ours."""

    def __init__(self, head=None):
        super().__init__()
        self.backbone = torch.nn.Conv2d(3, 4, 3, padding=1)
        self.decode_head = head

    def extract_feat(self, images):
        return (self.backbone(images),)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.extract_feat(inputs)


class Wrapping(BaseModel):
    """Another library's network as a whole, as mmpretrain's TimmClassifier has it; a map is no class."""

    def __init__(self):
        super().__init__()
        self.model = torch.nn.Conv2d(3, 4, 1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.model(inputs)


class Queries(torch.nn.Module):
    def forward(self, features):
        return features[0], features[0]


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
        (lambda: export_onnx(_features(), (64, 64), opset=11), '--opset 11: PyTorch exports 18'),
        (lambda: export_onnx(_features(), (64, 64), opset=99), '--opset 99'),
        (
            lambda: export_onnx(_features(8), (4, 4)),
            'the model does not accept 4x4 pixels: too small',
        ),
        (
            lambda: Network(_features(65).model, 'segmentation'),
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


def _features(least=1, whole=1):
    model = Plain(Queries())

    def extract(images):
        if min(images.shape[2:]) < least:
            raise ValueError('too small')
        if any(side % whole for side in images.shape[2:]):
            raise ValueError(f'no multiple of {whole}')
        return (model.backbone(images),)

    model.extract_feat = extract
    return Network(model, 'detection', part='features')


def _huge():
    """A network of 3 GiB, of which no byte is there."""
    network = _features()
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
    monkeypatch.setattr(jobs_export, 'print_log', lambda text, *_: said.append(text))
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


class Scores(torch.nn.Module):
    """A head whose four scores are the features."""

    align_corners = False

    def forward(self, features):
        return features[0]


def off_by(part):
    """One value of the last output is off by a part of the greatest."""

    def change(outputs, _):
        last = outputs[-1].reshape(-1)
        last[-1] += part * np.abs(last).max()

    return change


def other_class(clearest):
    """The class of one pixel, the clearest or the least clear, is another one."""

    def change(outputs, logits):
        best = logits.topk(2, 1)
        gap = (best.values[:, 0] - best.values[:, 1]).reshape(-1)
        place = int(gap.argmax() if clearest else gap.argmin())
        outputs[0].reshape(-1)[place] = best.indices[:, 1].reshape(-1)[place]

    return change


def half_of_the_classes(outputs, _):
    outputs[0][..., ::2] = (outputs[0][..., ::2] + 1) % 4


def nothing(outputs, _):
    pass


@pytest.mark.parametrize(
    ('output', 'change', 'bounds', 'passes'),
    [
        *((output, nothing, 'fp32', True) for output in ('features', 'logits', 'labels')),
        *((output, off_by(5e-4), 'fp32', True) for output in ('features', 'logits')),
        *((output, off_by(2e-3), 'fp32', False) for output in ('features', 'logits')),
        *((output, off_by(float('nan')), 'int8', False) for output in ('features', 'logits')),
        ('probabilities', off_by(2e-3), 'fp32', False),
        ('logits', off_by(2e-3), 'fp16', True),
        ('labels', other_class(clearest=True), 'fp32', False),
        ('labels', other_class(clearest=False), 'fp32', True),
        ('labels', half_of_the_classes, 'int8', False),
        ('logits', lambda outputs, _: outputs.append(outputs[0]), 'int8', False),
        ('logits', lambda outputs, _: outputs.__setitem__(0, outputs[0][..., 1:]), 'int8', False),
    ],
)
def test_what_a_verification_lets_pass(output, change, bounds, passes):
    torch.manual_seed(0)
    if output == 'features':
        network = _features()
    else:
        network = Network(Plain(Scores()), 'segmentation', output=output)

    def run(images):
        with torch.no_grad():
            found = network(images)
            found = [x.numpy().copy() for x in (found if output == 'features' else [found])]
            if len(images) == 3:  # not the first that is tried
                change(found, None if output == 'features' else network.logits(images))
        return found

    found = verify(run, network, (12, 16), ('batch', 'size'), bounds=BOUNDS[bounds])
    assert found.passed == passes


@pytest.mark.parametrize('whole', [1, 64])
def test_sizes_are_tried_that_the_model_takes(whole):
    def verified(network, *size):
        run = lambda images: [features.numpy() for features in network(images)]  # noqa: E731
        return verify(run, network, size, ('batch', 'size'))

    found = verified(_features(whole=whole), 64, 128)
    assert found.passed and found.shapes[0] == (1, 64, 128) and len(found.shapes) >= 4
    assert all(side % whole == 0 for _, *sides in found.shapes for side in sides)
    with pytest.raises(
        InputError, match='does not accept 37x48 pixels, nor multiples of 64: export'
    ):
        verified(_features(whole=48), 48, 48)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'no such file'),
        (b'text', 'onnxruntime rejects'),
        (dict.fromkeys(ENTRIES), 'not exported by fan_mm'),
        (
            {'preprocessing': None},
            r'x\.onnx lacks fan_mm\.preprocessing in its metadata: export it again',
        ),
        ({'classes': '[a'}, r'x\.onnx: fan_mm\.classes in its metadata is not JSON'),
    ],
)
def test_files_that_cannot_be_verified(exported, tmp_path, content, message):
    file = tmp_path / 'x.onnx'
    if isinstance(content, dict):
        told(exported[0], file, content)
    elif content:
        file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        verify_file(segmenter(), exported[1], file)


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


@pytest.mark.slow
def test_a_program_of_pytorch_needs_no_code_of_the_model(exported, tmp_path):
    file = tmp_path / 'm.pt2'
    options = dict(free=('batch', 'size'), form='pt2')
    found = export(segmenter(), exported[1], file, (64, 96), **options)
    assert found.passed and found.error < 1e-5 and len(found.shapes) == 5
    extra = {'fan_mm.json': ''}
    program = torch.export.load(str(file), extra_files=extra)
    assert program.module()(torch.randn(2, 3, 80, 72)).shape == (2, 4, 80, 72)
    assert json.loads(extra['fan_mm.json'])['backbone'] == 'FANHybrid'


def test_too_little_memory_is_not_called_a_wrong_shape():
    from fan_mm.engine.onnx_file import run_session

    class Session:
        def get_inputs(self):
            return [onnx.helper.make_tensor_value_info('images', 1, [1, 3, 8, 8])]

        def run(self, *_):
            raise RuntimeError('[ONNXRuntimeError] Failed to allocate memory for requested buffer')

    with pytest.raises(InputError, match=r'not enough memory for \[1, 3, 8, 8\]'):
        run_session(Session(), torch.zeros(1, 3, 8, 8))


def test_a_missing_package_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(
        InputError, match='onnxscript is not installed: pip install onnx onnxscript onnxruntime'
    ):
        export_onnx(_features(), (64, 64))


# ------------------------------------------------------------------- in a checkpoint's place


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
            sample = predictor(dict(inputs=image.byte(), data_samples=_sample(90, 70)))
            scores.append(sample.seg_logits.data)
        torch.testing.assert_close(*scores, atol=1e-3, rtol=1e-3)


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


def test_the_printed_lines_run_a_file_without_fan_mm(exported, tmp_path, repo_root, monkeypatch):
    """The Python of docs/deployment.md gives what the model predicts."""
    import re

    import cv2

    from fan_mm.engine.predictor import Predictor

    monkeypatch.chdir(tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (50, 75, 3), dtype=np.uint8)
    cv2.imwrite('street.png', picture)
    page = (repo_root / 'docs' / 'deployment.md').read_text(encoding='utf-8')
    (lines,) = re.findall(r'```python\n(.*?)```', page, re.DOTALL)
    names = {}
    exec(lines.replace('model.onnx', str(exported[0])), names)
    image = torch.from_numpy(picture).permute(2, 0, 1)
    sample = Predictor(segmenter(), exported[1])(dict(inputs=image, data_samples=_sample(50, 75)))
    assert (names['labels'] == sample.pred_sem_seg.data[0].numpy()).mean() > 0.999


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
def test_tables_of_the_file_equal_pytorchs(tmp_path, repo_root):
    """What tools/test.py and tools/test_corruption.py find, with a file of any batch and one size."""
    from fan_mm.datasets.scenes import write_imagenet
    from fan_mm.jobs.robustness import evaluate_robustness
    from fan_mm.jobs.training import test

    write_imagenet(tmp_path / 'toy', (80, 80), 10, 20, jobs=1)

    def config(name):
        cfg = Config.fromfile(repo_root / 'configs' / 'fan_hybrid_toy_imagenet.py')
        cfg.model.backbone.arch = COLUMN | STEM
        cfg.model.head.in_channels = 16
        cfg.test_dataloader.dataset.data_root = str(tmp_path / 'toy')
        cfg.work_dir = str(tmp_path / name)
        return cfg

    checkpoint = weights(config('weights'), tmp_path / 'w.pth')
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
