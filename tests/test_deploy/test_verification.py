"""What differs from PyTorch is caught, and what does not passes, at sizes that the model takes."""

import numpy as np
import pytest
import torch
from plain_networks import Plain, features
from small_models import segmenter, weights

from fan_mm.deploy import Network, verify
from fan_mm.deploy.verification import BOUNDS, Bounds, shapes_to_try
from fan_mm.engine.onnx_file import open_session
from fan_mm.errors import InputError
from fan_mm.jobs import export as jobs_export

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')
pytest.importorskip('mmpretrain')
pytest.importorskip('mmseg')

export, verify_file = jobs_export.export, jobs_export.verify_file


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


def other_class(beyond):
    """The class of one pixel is another one, the least clear beyond a part of the greatest score."""

    def change(outputs, logits):
        best = logits.topk(2, 1)
        gap = (best.values[:, 0] - best.values[:, 1]).reshape(-1)
        place = int(gap.where(gap > beyond * logits.abs().max(), torch.inf).argmin())
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
        ('labels', other_class(beyond=5e-3), 'fp32', False),
        ('labels', other_class(beyond=0), 'fp32', True),
        ('labels', half_of_the_classes, 'int8', False),
        ('logits', lambda outputs, _: outputs.append(outputs[0]), 'int8', False),
        ('logits', lambda outputs, _: outputs.__setitem__(0, outputs[0][..., 1:]), 'int8', False),
    ],
)
def test_what_a_verification_lets_pass(output, change, bounds, passes):
    torch.manual_seed(0)
    if output == 'features':
        network = features()
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


def test_inputs_are_the_traced_one_and_others_as_far_as_the_graph_is_free():
    tried = {
        (): [(1, 64, 96)],
        ('batch',): [(1, 64, 96), (3, 64, 96)],
        ('size',): [(1, 64, 96), (1, 49, 96), (1, 64, 123), (1, 102, 65)],
        ('batch', 'size'): [
            *((1, 64, 96), (3, 49, 96), (1, 64, 123), (3, 102, 65)),
            (3, 64, 96),
        ],
    }
    for free, shapes in tried.items():
        assert shapes_to_try((64, 96), free, 1) == tuple(shapes)
    assert shapes_to_try((64, 96), ('size',), 2)[0] == (2, 64, 96)


def test_a_verification_is_of_the_inputs_that_are_given():
    """Of all that are given equal ones pass, whatever agreement is asked for."""
    network, given = Network(Plain(Scores()), 'segmentation', output='labels'), []

    def example(*shape, seed):
        given.append((shape, seed))
        return torch.full((shape[0], 3, *shape[1:]), float(seed))

    def run(images):
        assert (images == given[-1][1]).all()
        return [network(images).detach().numpy()]

    found = verify(run, network, (13, 17), ('batch',), bounds=Bounds(1e-3, 1.0), example=example)
    assert given == [((1, 13, 17), 0), ((3, 13, 17), 1)]
    assert found.passed and found.shapes == ((1, 13, 17), (3, 13, 17)) and found.agreement == 1


class OneScore(Scores):
    """Two classes by one score."""

    threshold = 0.4

    def forward(self, features):
        return features[0][:, :1]


@pytest.mark.parametrize('output', ['logits', 'probabilities', 'labels'])
def test_one_score_for_two_classes(output):
    torch.manual_seed(0)
    network = Network(Plain(OneScore()), 'segmentation', output=output)

    def run(images):
        with torch.no_grad():
            assert 0.1 < network.labels(network.logits(images)).float().mean() < 0.9
            return [network(images).numpy()]

    def at_the_edge(images):
        """The pixel whose score decides least is of the other class."""
        (found,) = run(images)
        if output == 'labels':
            near = (network.logits(images).sigmoid() - OneScore.threshold).abs().argmin()
            found.reshape(-1)[near] ^= 1
        return [found]

    for computed in (run, at_the_edge):
        found = verify(computed, network, (12, 16), ('batch', 'size'))
        assert found.passed and found.decided == 1
        assert (found.agreement == 1) == (computed is run or output != 'labels')


@pytest.mark.parametrize('whole', [1, 64])
def test_sizes_are_tried_that_the_model_takes(whole):
    def verified(network, *size):
        run = lambda images: [features.numpy() for features in network(images)]  # noqa: E731
        return verify(run, network, size, ('batch', 'size'))

    found = verified(features(whole=whole), 64, 128)
    assert found.passed and found.shapes[0] == (1, 64, 128) and len(found.shapes) >= 4
    assert all(side % whole == 0 for _, *sides in found.shapes for side in sides)
    with pytest.raises(
        InputError, match='does not accept 37x48 pixels, nor multiples of 64: export'
    ):
        verified(features(whole=48), 48, 48)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'no such file'),
        (b'text', 'onnxruntime rejects'),
        (b'version https://git-lfs', r'x\.onnx is not an ONNX file, but a Git LFS pointer: run'),
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


def test_a_checkpoint_under_another_name(tmp_path):
    torch.save({'a': torch.zeros(2)}, tmp_path / 'w.onnx')
    with pytest.raises(
        InputError, match=r'w\.onnx is not an ONNX file, but a torch checkpoint: give'
    ):
        open_session(tmp_path / 'w.onnx')
