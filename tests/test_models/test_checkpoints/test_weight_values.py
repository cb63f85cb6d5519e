"""What the tensors of a file may hold: no NaN, nothing quantised or sparse; any precision and layout."""

import pytest
import torch
from named_weights import OPTIMIZER, Classifier, ResNet, equal
from small_models import small_hybrid

from fan_mm.engine.weights import load_weights
from fan_mm.errors import InputError
from fan_mm.models.checkpoints import load_pretrained
from fan_mm.models.conversion import classifier_state, convert_file


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([1], 'contains no weights: a checkpoint must be a dict of weights, not a list'),
        (torch.ones(3), 'not a Tensor'),
        (None, 'not a NoneType'),
        ({}, 'contains no weights, only: nothing'),
        (dict(state_dict={}), 'contains no weights, only: state_dict'),
        (dict(state_dict=dict(a=1, b='x')), 'contains no weights, only: state_dict'),
        (OPTIMIZER, 'contains no weights, only: state, param_groups'),
        (dict(optimizer=OPTIMIZER, epoch=1), 'contains no weights, only: optimizer, epoch'),
        (dict(state_dict_encrypted=True, state_dict=b'x'), 'weights are encrypted'),
        (dict(state_dict=b'x', tao_model='segformer'), 'weights are encrypted'),
        ({1: torch.ones(1), 2: torch.ones(1)}, 'has 0 of the model|does not match any FAN'),
        ({('a', 1): torch.ones(1)}, 'has 0 of the model|does not match any FAN'),
    ],
)
def test_files_without_a_model(content, message, tmp_path):
    path = tmp_path / 'f.pth'
    torch.save(content, path)
    for read in (
        lambda: load_weights(Classifier(), content, 'f.pth'),
        lambda: load_pretrained(small_hybrid(), path),
        lambda: convert_file(path, tmp_path / 'out.pth'),
        lambda: classifier_state(content, 'ema'),
    ):
        with pytest.raises(InputError, match=message) as error:
            read()
        assert '\n' not in str(error.value)


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers(value, dtype, tmp_path):
    source = Classifier(seed=1).to(dtype)
    source.backbone.blocks[1].token_mixing.kv.weight.data[3, 4] = value
    state = source.state_dict()
    torch.save(state, tmp_path / 'f.pth')
    message = r'token_mixing\.kv\.weight has values that are NaN or infinite'
    for read in (
        lambda: load_weights(Classifier(), state, 'f.pth'),
        lambda: load_weights(
            Classifier(), {k.replace('token_mixing', 'attn'): v for k, v in state.items()}, 'f'
        ),
        lambda: load_pretrained(small_hybrid(), tmp_path / 'f.pth'),
    ):
        with pytest.raises(InputError, match=message):
            read()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_and_memory_formats_load(dtype):
    source = Classifier(seed=1)
    state = {
        key: value.to(dtype) if value.is_floating_point() else value
        for key, value in source.to(memory_format=torch.channels_last).state_dict().items()
    }
    target = Classifier()
    load_weights(target, state, 'f.pth')
    assert torch.allclose(target.backbone.cls_token, source.backbone.cls_token, atol=1e-2)
    assert target.head.fc.weight.dtype == torch.float32


def test_quantised_weights_are_said():
    state = Classifier(seed=1).state_dict()
    for weight in (
        torch.quantize_per_tensor(state['head.fc.weight'], 0.1, 0, torch.qint8),
        torch.ones(5, 32, dtype=torch.int8),
    ):
        with pytest.raises(InputError, match=r'head\.fc\.weight is quantised \(q?int8\)'):
            load_weights(Classifier(), {**state, 'head.fc.weight': weight}, 'f.pth')


def test_infinite_masks_are_no_fault():
    class Masked(ResNet):
        def __init__(self, seed=0):
            super().__init__(seed)
            self.register_buffer('attn_mask', torch.full((2, 2), -float('inf')))

    load_weights(Masked(), Masked(1).state_dict(), 'f.pth')


def test_arrays_of_numpy_are_weights(classifier):
    target = Classifier(1)
    arrays = {key: value.numpy() for key, value in classifier.state_dict().items()}
    load_weights(target, dict(model=arrays, note='of Detectron'), 'f.pkl')
    assert equal(target, classifier)


def test_sparse_weights_are_refused_in_one_line(classifier):
    state = classifier.state_dict()
    state['head.fc.weight'] = state['head.fc.weight'].to_sparse()
    with pytest.raises(InputError, match=r'head\.fc\.weight is sparse: save') as error:
        load_weights(Classifier(1), state, 'f.pth')
    assert '\n' not in str(error.value)
