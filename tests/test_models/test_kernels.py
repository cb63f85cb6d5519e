"""Operators for a GPU: their formulas, gradients and shapes here; their kernels in Triton's interpreter.

What the kernels compute on a GPU is a section of `benchmarks/gpu`.
"""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from fan_mm.models.kernels import has_kernels
from fan_mm.models.kernels.channel_gate import channel_similarity
from fan_mm.models.kernels.depthwise import depthwise_on_gpu

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec('triton') is None, reason='no Triton for this machine'
)


def plain_depthwise(x, weight, bias):
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))


def plain_similarity(u, q):
    u, q = (x.softmax(1).unflatten(2, (4, -1)) for x in (u, q))
    return torch.einsum('bnhd,bnh->bhd', q, u.mean(3)).flatten(1)


def depthwise_inputs(size):
    shapes = (2, 8, 5, 7), (8, 1, size, size), (8,)
    return [torch.randn(shape, requires_grad=True) for shape in shapes]


def token_inputs():
    return [(2 * torch.randn(2, 30, 24)).requires_grad_() for _ in 'uq']


CASES = {
    'depthwise 3x3': (depthwise_on_gpu, plain_depthwise, lambda: depthwise_inputs(3)),
    'depthwise 7x7': (depthwise_on_gpu, plain_depthwise, lambda: depthwise_inputs(7)),
    'similarity': (lambda u, q: channel_similarity(u, q, 4), plain_similarity, token_inputs),
}


@pytest.mark.parametrize(('operator', 'plain', 'inputs'), CASES.values(), ids=CASES)
def test_formulas(operator, plain, inputs):
    """Values, gradients, and gradients of gradients."""
    inputs = inputs()
    found = []
    for function in (operator, plain):
        out = function(*inputs)
        first = torch.autograd.grad(out.sin().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum(x.square().sum() for x in first), inputs)
        found.append([out, *first, *second])
    for value, expected in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(('operator', 'plain', 'inputs'), CASES.values(), ids=CASES)
def test_without_gradients(operator, plain, inputs):
    inputs = inputs()
    with torch.no_grad():
        torch.testing.assert_close(operator(*inputs), plain(*inputs), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(('operator', 'plain', 'inputs'), CASES.values(), ids=CASES)
def test_compiled_in_one_graph(operator, plain, inputs):
    inputs = inputs()
    torch._dynamo.reset()
    compiled = torch.compile(operator, fullgraph=True, backend='aot_eager')
    expected = torch.autograd.grad(operator(*inputs).sin().sum(), inputs)
    found = torch.autograd.grad(compiled(*inputs).sin().sum(), inputs)
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_shapes_and_types_of_fake_tensors(dtype):
    with FakeTensorMode():
        x = torch.empty(2, 8, 5, 7, device='cuda', dtype=dtype)
        weight, bias = torch.empty(8, 1, 3, 3, device='cuda'), torch.empty(8, device='cuda')
        out = depthwise_on_gpu(x, weight, bias)
        assert (out.shape, out.dtype, out.device) == (x.shape, dtype, x.device)
        assert out.is_contiguous(memory_format=torch.channels_last)
        tokens = x.flatten(2).transpose(1, 2)
        similarity = channel_similarity(tokens, tokens, 4)
        assert (similarity.shape, similarity.dtype) == ((2, 8), torch.float32)


def test_exported_graphs_hold_pytorchs_operators_only(monkeypatch):
    with FakeTensorMode():
        x = torch.empty(2, 8, device='cuda')
    assert has_kernels(x)
    monkeypatch.setattr(torch.compiler, 'is_exporting', lambda: True)
    assert not has_kernels(x)


SHAPES = [[2, 5, 7, 20], [1, 3, 2, 136], [2, 1, 1, 8]]
INTERPRETED = """
import json, sys
import torch
import torch.nn.functional as F
from fan_mm.models.kernels import channel_gate_triton, depthwise_triton
from gpu import depthwise_rows

def worst(found, expected):
    apart = [(x.double() - y).abs().max() for x, y in zip(found, expected, strict=True)]
    return float(torch.stack(apart).max())  # NaN where one is

depthwise_rows.TILE = 4, 5, 32  # which the first map exceeds
torch.manual_seed(0)
results = {}
for shape in json.loads(sys.argv[1]):
    batch, height, width, channels = shape
    x, g = torch.randn(2, *shape)
    for size in (3, 7):
        weight, bias = torch.randn(channels, 1, size, size), torch.randn(channels)
        inputs = [t.double().requires_grad_() for t in (x.permute(0, 3, 1, 2), weight, bias)]
        out = F.conv2d(*inputs, padding=size // 2, groups=channels).permute(0, 2, 3, 1)
        of_x, *others = torch.autograd.grad(out, inputs, g.double())
        found = [
            depthwise_triton.convolve(x, weight, bias, False),
            depthwise_triton.convolve(g, weight, None, True),
            *depthwise_triton.gradients(g, x, size),
        ]
        results[f'{shape}, {size}'] = worst(found, [out, of_x.permute(0, 2, 3, 1), *others])
        if channels == 20:
            found = depthwise_rows.gradients(g, x, size)
            results[f'{shape}, {size}, along rows'] = worst(found, others)
    u, q = (2 * t.flatten(1, 2) for t in (x, g))
    inputs = [t.double().requires_grad_() for t in (u, q)]
    s, p = (t.softmax(1).unflatten(2, (4, -1)) for t in inputs)
    similarity = torch.einsum('bnhd,bnh->bhd', p, s.mean(3)).flatten(1)
    gradient = torch.randn(batch, channels)
    expected = [similarity, *torch.autograd.grad(similarity, inputs, gradient.double())]
    # in parts of one step, and of several
    for channel_gate_triton.TOKENS in (32, 8)[: 1 + (channels == 20)]:
        channel_gate_triton.MOST_PARTS = channel_gate_triton.TOKENS // 4
        outputs = channel_gate_triton.similarity(u, q, 4)
        found = [outputs[0], *channel_gate_triton.gradients(gradient, u, q, *outputs)]
        results[f'{shape}, similarity, {channel_gate_triton.TOKENS}'] = worst(found, expected)
print(json.dumps(results))
"""


@needs_triton
def test_kernels_in_the_interpreter(repo_root):
    """Sizes that no tile divides, a map of one token, channels that are no power of two."""
    places = [str(repo_root), str(repo_root / 'benchmarks'), os.environ.get('PYTHONPATH', '')]
    done = subprocess.run(
        [sys.executable, '-c', INTERPRETED, json.dumps(SHAPES)],
        env=os.environ | dict(TRITON_INTERPRET='1', PYTHONPATH=os.pathsep.join(places)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert len(results) == 3 * len(SHAPES) + 3
    assert all(value < 1e-5 for value in results.values()), results
