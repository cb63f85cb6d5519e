"""What a GPU would be asked to do, seen without one: fake CUDA tensors have shapes, no values."""

import pytest
import torch
from mmengine.registry import MODELS
from small_models import shallow
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from fan_mm.models import FANConvNeXt, FANHybrid, FANSwin, FANViT
from fan_mm.models.kernels import has_kernels
from fan_mm.models.layers import EfficientChannelAttention, TokenPooling
from fan_mm.models.losses.attention_diversity import attention_diversity
from fan_mm.models.shapes_alone import shapes_alone

CASES = {
    'vit': (FANViT, dict(out_indices=(3, 11, -1))),
    'vit, class token': (FANViT, dict(out_type='cls_token')),
    'hybrid': (FANHybrid, dict(out_indices=(0, 1, 2, 3), last_stage_channels=768, out_norm=True)),
    'hybrid, tokens': (FANHybrid, dict(out_type='raw')),
    'hybrid, pooled': (FANHybrid, dict(out_indices=(0, 1, 2, 3), token_pooling=4)),
    'swin': (FANSwin, dict(out_indices=(0, 1, 2, 3))),
    'convnext': (FANConvNeXt, dict(out_indices=(0, 1, 2, 3))),
}


class Calls(TorchDispatchMode):
    """Every operation with its tensors."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.seen.append((function.overloadpacket.__name__, args, result))
        return result


def calls_of(module, *inputs, precision=None):
    """Outputs, and the operations of a forward pass on fake CUDA tensors."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), Calls() as calls:
        module = module.to_empty(device='cuda')
        inputs = [torch.empty(x, device='cuda') if isinstance(x, torch.Size) else x for x in inputs]
        calls.seen.clear()
        # torch.autocast('cuda') would switch itself off where there is none
        torch.set_autocast_enabled('cuda', precision is not None)
        torch.set_autocast_dtype('cuda', precision or torch.float16)
        try:
            return module(*inputs), calls.seen
        finally:
            torch.set_autocast_enabled('cuda', False)


@pytest.mark.parametrize('precision', [None, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(('backbone', 'options'), CASES.values(), ids=CASES)
def test_forward_stays_on_the_gpu(backbone, options, precision):
    cfg = shallow(dict(type=backbone.__name__, arch='tiny', **options))
    with shapes_alone():
        module = MODELS.build(cfg).eval()
    outputs, calls = calls_of(module, torch.Size((2, 3, 90, 130)), precision=precision)
    for output in outputs:
        assert output.device.type == 'cuda'
        assert output.is_contiguous()
    assert len(calls) > 100
    for name, args, result in calls:
        tensors = [x for x in (*args, result) if isinstance(x, torch.Tensor) and x.ndim]
        assert {x.device.type for x in tensors} <= {'cuda'}, f'{name} waits for the CPU'


@pytest.mark.parametrize('precision', [None, torch.float16, torch.bfloat16])
def test_channel_attention_runs_on_its_own_kernels(precision):
    """Nothing is copied between layouts: tokens are channels-last maps, and stay it."""
    with torch.device('meta'):
        module = EfficientChannelAttention(64, 4, 256, dict(type='BN')).eval()
    _, calls = calls_of(module, torch.Size((2, 300, 64)), (15, 20), precision=precision)
    names = [name for name, *_ in calls]
    assert (names.count('depthwise'), names.count('channel_similarity')) == (2, 1)
    assert not {'convolution', '_softmax', 'clone'} & set(names)
    assert {args[0].dtype for name, args, _ in calls if name == 'depthwise'} == {
        precision or torch.float32
    }
    casts = [
        args for name, args, _ in calls if name == '_to_copy' and args[0].numel() == 2 * 300 * 64
    ]
    assert len(casts) <= 2, 'tokens are cast once, and the output of the MLP for its norm'


def test_float64_takes_pytorchs_operators():
    with torch.device('meta'):
        module = EfficientChannelAttention(64, 4, 256, dict(type='BN')).double().eval()
    with FakeTensorMode():
        tokens = torch.empty(2, 300, 64, device='cuda', dtype=torch.float64)
    assert not has_kernels(tokens)
    with Calls() as calls, torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
        module.to_empty(device='cuda')(tokens, (15, 20))
    assert 'channel_similarity' not in [name for name, *_ in calls.seen]
    shapes = [(args[0].shape, args[1]) for name, args, _ in calls.seen if name == '_softmax']
    assert shapes == 2 * [((2, 64, 300), -1)], 'along columns one thread would take all tokens'


@pytest.mark.parametrize('precision', [None, torch.float16, torch.bfloat16])
def test_dilated_convolutions_get_contiguous_maps(precision):
    """The kernels that cuDNN has for channels-last maps know no dilation."""
    with torch.device('meta'):
        module = TokenPooling(64, 4).eval()
    _, calls = calls_of(module, torch.Size((2, 300, 64)), (15, 20), precision=precision)
    dilated = [args for name, args, _ in calls if name == 'convolution' and args[8] == 64]
    assert [args[5] for args in dilated] == [[1, 1], [2, 2], [3, 3]]
    assert all(args[0].is_contiguous() for args in dilated)


def test_attention_diversity_never_waits_for_the_cpu():
    with FakeTensorMode(), torch.no_grad(), Calls() as calls:
        q, k = (torch.empty(2, 4, 900, 16, device='cuda', dtype=torch.float16) for _ in 'qk')
        loss = attention_diversity(q, k)
    assert (loss.device.type, loss.dtype) == ('cuda', torch.float32)
    assert 'bmm' in {name for name, *_ in calls.seen}
    for name, args, result in calls.seen:
        tensors = [x for x in (*args, result) if isinstance(x, torch.Tensor) and x.ndim]
        assert {x.device.type for x in tensors} <= {'cuda'}, name
