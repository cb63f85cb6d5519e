"""What is exported computes what PyTorch does, at sizes that were not traced, and says what it is."""

import json

import numpy as np
import pytest
import torch
from small_models import BACKBONES, COLUMN, NORM, classifier, segmenter, segmenter_sample, weights

import fan_mm
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError
from fan_mm.jobs.export import export

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')
pytest.importorskip('mmpretrain')
pytest.importorskip('mmseg')


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
    sample = predictor(dict(inputs=bgr, data_samples=segmenter_sample(80, 61)))
    found = sample.pred_sem_seg.data[0].numpy()
    assert (found == labels[0]).mean() > 0.999
    assert len(np.unique(labels)) > 1


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
    sample = Predictor(segmenter(), exported[1])(
        dict(inputs=image, data_samples=segmenter_sample(50, 75))
    )
    assert (names['labels'] == sample.pred_sem_seg.data[0].numpy()).mean() > 0.999
