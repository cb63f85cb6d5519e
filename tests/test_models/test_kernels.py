"""Operators for a GPU: their formulas, gradients and shapes here; their kernels in Triton's interpreter.

What the kernels compute on a GPU is a section of `benchmarks/gpu`.
"""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import types

import pytest
import torch
import torch.nn.functional as F
import warm_python
from torch._subclasses.fake_tensor import FakeTensorMode

from fan_mm.models import FANConvNeXt, FANHybrid, FANSwin, FANViT
from fan_mm.models.kernels import (
    beside,
    exporting,
    fuses,
    has_kernels,
    layer_norm_on_gpu,
    library,
    scaled_residual_on_gpu,
)
from fan_mm.models.kernels.channel_gate import channel_similarity
from fan_mm.models.kernels.depthwise import depthwise_on_gpu
from fan_mm.models.layers import ChannelLayerNorm
from fan_mm.models.layers.residual import scaled_residual

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


def plain_norm(x, weight, bias):
    standard = F.layer_norm(x, x.shape[-1:], eps=1e-3)
    return standard * beside(weight, x) + beside(bias, x)


def row_inputs(*parameters):
    return [torch.randn(shape, requires_grad=True) for shape in ((2, 5, 7, 24), *parameters)]


def our_norm(x, weight, bias):
    return layer_norm_on_gpu(x, weight, bias, 1e-3, torch.float32)


def residual_inputs(factor):
    return row_inputs(factor, (2, 5, 7, 24))


def plain_residual(x, factor, branch):
    return x + beside(factor, x) * branch


CASES = {
    'norm': (our_norm, plain_norm, lambda: row_inputs((24,), (24,))),
    'norm with a gate': (our_norm, plain_norm, lambda: row_inputs((2, 24), (2, 24))),
    'residual': (scaled_residual_on_gpu, plain_residual, lambda: residual_inputs((24,))),
    'residual, drop path': (
        scaled_residual_on_gpu,
        plain_residual,
        lambda: residual_inputs((2, 24)),
    ),
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
def test_gradients_of_gradients_where_some_inputs_are_frozen(operator, plain, inputs):
    inputs = inputs()
    inputs[-1].requires_grad_(False)
    for x in inputs[:-1]:
        found = []
        for function in (operator, plain):
            (first,) = torch.autograd.grad(function(*inputs).sin().sum(), x, create_graph=True)
            found += torch.autograd.grad(first.square().sum(), x)
        torch.testing.assert_close(*found, atol=1e-3, rtol=1e-3)


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
        for found in torch.ops.fan_mm.channel_similarity_gradients(similarity, *[tokens] * 5):
            assert (found.shape, found.dtype) == (tokens.shape, dtype) and found.is_contiguous()
        for parameter in bias, torch.empty(2, 8, device='cuda'):
            out = layer_norm_on_gpu(tokens, parameter, parameter, 1e-6, torch.float16)
            of_x, *others = torch.ops.fan_mm.layer_norm_gradients(out, tokens, parameter, 1e-6)
            assert (out.shape, out.dtype) == (tokens.shape, torch.float16)
            sums = scaled_residual_on_gpu(tokens.float(), parameter, tokens)
            assert (sums.shape, sums.dtype) == (tokens.shape, torch.float32)
            of_branch, of_factor = torch.ops.fan_mm.scaled_residual_gradients(
                sums, parameter, tokens
            )
            for found in (of_x, of_branch):
                assert (found.shape, found.dtype) == (tokens.shape, dtype)
            for found in (out, sums, of_x, of_branch):
                assert found.is_contiguous()
            for found in (*others, of_factor):
                assert (found.shape, found.dtype) == (parameter.shape, torch.float32)


def test_exported_graphs_hold_pytorchs_operators_only(monkeypatch):
    with FakeTensorMode():
        x = torch.empty(2, 8, device='cuda')
    assert has_kernels(x)
    monkeypatch.setattr(torch.compiler, 'is_exporting', lambda: True)
    assert not has_kernels(x)
    monkeypatch.setattr(torch.compiler, 'is_dynamo_compiling', lambda: True)  # `torch.compile`
    assert has_kernels(x)
    monkeypatch.delattr(torch.compiler, 'is_exporting')  # torch 2.4 to 2.6
    assert has_kernels(x)
    monkeypatch.setattr(torch.compiler, 'is_compiling', lambda: True)
    assert not has_kernels(x)


class Exporting(torch.nn.Module):
    def forward(self, x):
        return x + int(exporting())


def test_a_compilation_is_no_export():
    torch._dynamo.reset()
    module, x = Exporting(), torch.zeros(1)
    assert torch.compile(module, backend='eager', fullgraph=True)(x) == 0
    for strict in (False, True):
        assert torch.export.export(module, (x,), strict=strict).module()(x) == 1
    assert torch.jit.trace(module, x, check_trace=False)(x) == 1
    assert module(x) == 0


@pytest.mark.parametrize('transform', [torch.func.grad, torch.func.vmap])
def test_transformed_functions_hold_pytorchs_operators_only(transform, monkeypatch):
    monkeypatch.setattr(torch.Tensor, 'is_cuda', True)
    taken = []
    assert has_kernels(torch.ones(2))
    transform(lambda x: (taken.append(has_kernels(x)), x.sum())[1])(torch.ones(2))
    assert taken == [False]


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('factor', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('branch', [torch.float32, torch.bfloat16])
def test_a_residual_sum_has_one_type_however_long_it_is(dtype, factor, branch, monkeypatch):
    """A layer scale of 1e-6 would be lost in a sum of 8 bits."""
    monkeypatch.setattr(torch.Tensor, 'is_cuda', True)
    x, branch = torch.ones(2, 5, 8, dtype=dtype), torch.ones(2, 5, 8, dtype=branch)
    gamma = torch.full((8,), 1e-6, dtype=factor)
    short = scaled_residual(x, gamma, branch)
    monkeypatch.setattr(library, 'MANY', 1)
    long = scaled_residual(x, gamma, branch)
    torch.testing.assert_close(long, short, check_dtype=True)


@pytest.mark.parametrize(
    ('version', 'compiles'), [('3.2.0', False), ('3.3.0', True), (None, False)]
)
def test_which_triton_compiles_the_kernels(version, compiles, monkeypatch):
    triton = None if version is None else types.SimpleNamespace(__version__=version)
    monkeypatch.setitem(sys.modules, 'triton', triton)
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda: (9, 0))
    assert library.triton_compiles.__wrapped__() == compiles


def test_passes_over_memory_are_saved_where_they_are_long(monkeypatch):
    with FakeTensorMode():
        few, many = (torch.empty(n, 512, device='cuda') for n in (2**14 - 1, 2**14))
    assert not fuses(few) and fuses(many)
    monkeypatch.setattr(torch.compiler, 'is_compiling', lambda: True)  # who does so itself
    assert has_kernels(many) and not fuses(many)


SHAPES = [[2, 5, 7, 20], [1, 3, 6, 136], [2, 1, 1, 8]]
INTERPRETED = """
import json, sys
for name in [name for name in sys.modules if name.partition('.')[0] == 'triton' and '._C' not in name]:
    del sys.modules[name]  # its own functions, too, are for the interpreter
import torch
import torch.nn.functional as F
from fan_mm.models import FANConvNeXt, FANHybrid, FANSwin, FANViT
from fan_mm.models.kernels import (
    beside, channel_gate_triton, depthwise_triton, layer_norm_triton, rows_triton,
    scaled_residual_triton
)
from gpu import depthwise_columns

def worst(found, expected):
    apart = [(x.double() - y).abs().max() for x, y in zip(found, expected, strict=True)]
    return float(torch.stack(apart).max())  # NaN where one is

depthwise_triton.SUMMED_TILES = dict.fromkeys((False, True), (4, 5, 32, 1))  # which the first map exceeds
TILES = {False: (2, 4, 5, 32, 1)}
depthwise_columns.TILES = depthwise_columns.SUMMED_TILES = TILES
rows_triton.PROGRAMS, rows_triton.VALUES = 2, 256  # programs that walk
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
        expected = [out, of_x.permute(0, 2, 3, 1), *others]
        # the second once: the interpreter takes seconds for each row
        for kernels in (depthwise_triton, depthwise_columns)[: 1 + ((size, width) == (3, 7))]:
            found = [
                kernels.convolve(x, weight, bias, False),
                kernels.convolve(g, weight, None, True),
                *kernels.gradients(g, x, weight),
            ]
            results[f'{shape}, {size}, {kernels.__name__}'] = worst(found, expected)
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
    for each in ((), (batch,)):  # parameters of all samples, and each sample's own
        weight, bias = torch.randn(2, *each, channels)
        inputs = [t.double().requires_grad_() for t in (x, weight, bias)]
        out = F.layer_norm(inputs[0], (channels,), eps=1e-3)
        out = out * beside(inputs[1], x) + beside(inputs[2], x)
        found = [
            layer_norm_triton.layer_norm(x, weight, bias, 1e-3, torch.float32),
            *layer_norm_triton.gradients(g, x, weight, 1e-3),
        ]
        expected = [out, *torch.autograd.grad(out, inputs, g.double())]
        results[f'{shape}, norm, {each}'] = worst(found, expected)
        inputs = [t.double().requires_grad_() for t in (g, weight)]
        out = x + inputs[0] * beside(inputs[1], x)
        found = [
            scaled_residual_triton.scaled_residual(x, weight, g),
            *scaled_residual_triton.gradients(x, weight, g),
        ]
        expected = [out, *torch.autograd.grad(out, inputs, x.double())]
        results[f'{shape}, residual, {each}'] = worst(found, expected)
depthwise_triton.MOST_PARTS = 6  # the first map has 8 tiles, 4 that are higher
launch, grids = depthwise_triton.launch, []
depthwise_triton.launch = lambda kernel, grid, *inputs, **options: [
    grids.append(grid), launch(kernel, grid, *inputs, **options)
]
x, g = torch.randn(2, 2, 5, 7, 20)
parameter = torch.zeros(20, 1, 3, 3, requires_grad=True)
of_weight = depthwise_triton.gradients(g, x, parameter)[0]
out = F.conv2d(x.permute(0, 3, 1, 2), parameter, padding=1, groups=20)
expected = torch.autograd.grad(out, parameter, g.permute(0, 3, 1, 2))
assert grids == [(1, 4, 1)], grids
results['larger tiles'] = worst([of_weight], [e.double() for e in expected])
half = torch.randn(9, 20).bfloat16()
out = layer_norm_triton.layer_norm(half, torch.ones(20), torch.zeros(20), 1e-6, torch.bfloat16)
assert out.dtype == torch.bfloat16 and worst([out], [F.layer_norm(half.double(), (20,))]) < 0.02
print(json.dumps(results))
"""


def last_line(repo_root, script, *arguments, **environment):
    """What a script prints at its end, as JSON, in a process whose environment Triton reads."""
    places = [str(repo_root), str(repo_root / 'benchmarks'), os.environ.get('PYTHONPATH', '')]
    done = subprocess.run(
        [warm_python.python(), '-c', script, *arguments],
        env=os.environ | environment | dict(PYTHONPATH=os.pathsep.join(places)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs_triton
@pytest.mark.slow
def test_kernels_in_the_interpreter(repo_root):
    """Sizes that no tile divides, a map of one token, channels that are no power of two."""
    results = last_line(repo_root, INTERPRETED, json.dumps(SHAPES), TRITON_INTERPRET='1')
    assert len(results) == 7 * len(SHAPES) + 3
    assert all(value < 3e-5 for value in results.values()), results


COMPILED = """
import json, sys
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import JITFunction
from fan_mm.models.kernels import (
    channel_gate_triton, depthwise_triton, layer_norm_triton, scaled_residual_triton
)

class Driver:  # of a GPU that is not there
    def get_current_target(self):
        return GPUTarget('cuda', int(sys.argv[1]), 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0

run, compiled = JITFunction.run, []

def compile_only(self, *args, warmup, **options):
    kernel = run(self, *args, warmup=True, **options)
    assert kernel.asm['cubin']
    compiled.append(self.__name__)

JITFunction.run = compile_only
triton.runtime.driver.set_active(Driver())
x = torch.zeros(2, 16, 16, 64, dtype=torch.bfloat16)
weight, bias = torch.zeros(64, 1, 3, 3), torch.zeros(64, requires_grad=True)
for flip in False, True:
    depthwise_triton.convolve(x, weight, None if flip else bias.detach(), flip)
depthwise_triton.gradients(x, x, weight)
u = x.flatten(1, 2)
found = channel_gate_triton.similarity(u, u, 4)
channel_gate_triton.gradients(bias.detach().expand(2, 64), u, u, *found)
for parameter in bias.detach(), torch.zeros(2, 64):
    layer_norm_triton.layer_norm(x, parameter, parameter, 1e-6, torch.float32)
    layer_norm_triton.gradients(x, x, parameter, 1e-6)
    scaled_residual_triton.scaled_residual(x.float(), parameter, x)
    scaled_residual_triton.gradients(x.float(), parameter, x)
print(json.dumps(compiled))
"""


LAUNCHED = """
import json, sys
import torch, triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.driver import ty_to_cpp
from triton.compiler.compiler import CompiledKernel
from fan_mm.models.kernels import channel_gate_triton, depthwise_triton, layer_norm_triton

class Driver:  # of a GPU that is not there
    def get_current_target(self):
        return GPUTarget('cuda', 90, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0

    map_python_to_cpp_type = staticmethod(ty_to_cpp)

calls = []

def load(kernel):
    kernel.module = kernel.function = 1
    kernel._run = lambda *arguments: calls[-1].append([kernel.name, *map(shown, arguments)])

def shown(value):
    return value if isinstance(value, (int, float, type(None))) else type(value).__name__

CompiledKernel._init_handles = load
triton.runtime.driver.set_active(Driver())
x, bias = torch.zeros(2, 4, 4, 16, dtype=torch.bfloat16), torch.zeros(16)
weight, part = torch.zeros(16, 1, 3, 3), torch.zeros(513)[1:].view(2, 4, 4, 16)
for _ in range(2):  # through Triton, and by the types alone
    calls.append([])
    depthwise_triton.convolve(x, weight, bias, False)
    depthwise_triton.convolve(x, weight, None, True)
    depthwise_triton.gradients(x, x, weight)
    layer_norm_triton.gradients(x, x, bias, 1e-6)
    u = x.flatten(1, 2)
    found = channel_gate_triton.similarity(u, u, 4)
    channel_gate_triton.gradients(torch.zeros(2, 16), u, u, *found)
    layer_norm_triton.layer_norm(part, bias, bias, 1e-6, torch.float32)  # unaligned
assert calls[0] == calls[1], calls
print(json.dumps(len(calls[0])))
"""


@needs_triton
def test_known_kernels_are_launched_as_triton_launches_them(repo_root, tmp_path):
    """The same arguments, constants among them, in the same order."""
    assert last_line(repo_root, LAUNCHED, TRITON_CACHE_DIR=str(tmp_path)) == 9


@needs_triton
@pytest.mark.parametrize('capability', ['75', '90'])
def test_kernels_compile_for_a_gpu(repo_root, tmp_path, capability):
    """Down to its machine code, without one: the interpreter lets types pass that the compiler refuses."""
    compiled = last_line(repo_root, COMPILED, capability, TRITON_CACHE_DIR=str(tmp_path))
    assert len(compiled) == 15
    assert len(set(compiled)) == 10  # `_convolve` twice, the kernels of rows too


GPU_BRANCHES = (
    ('layer_norm', 'fuses'),
    ('residual', 'fuses'),
    ('convolution', 'has_kernels'),
    ('channel_attention', 'has_kernels'),
    ('channel_attention', 'fuses'),
)


@pytest.mark.parametrize('backbone', [FANHybrid, FANViT, FANSwin, FANConvNeXt])
def test_backbones_compute_the_same_through_the_operators(backbone, monkeypatch):
    """Maps and gradients, with drop path, of what a GPU takes; here the operators are formulas."""
    model = backbone('tiny', drop_path_rate=0.3, out_indices=(0, 1, 2, 3)).train()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.normal_(parameter, 1, 0.3)

    def computed():
        torch.manual_seed(1)  # of drop path
        maps = model(torch.ones(2, 3, 32, 64).cumsum(-1).sin())
        loss = sum(x.square().mean() for x in maps)
        return [*maps, *torch.autograd.grad(loss, list(model.parameters()))]

    expected = computed()
    for name, question in GPU_BRANCHES:
        module = importlib.import_module(f'fan_mm.models.layers.{name}')
        monkeypatch.setattr(module, question, lambda x: True)
    for value, other in zip(computed(), expected, strict=True):
        torch.testing.assert_close(value, other, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize('before_product', [True, False])
def test_norms_before_products_keep_autocasts_type(before_product, monkeypatch):
    norm = ChannelLayerNorm(8, before_product=before_product)
    monkeypatch.setattr('fan_mm.models.layers.layer_norm.fuses', lambda x: True)
    x, gate = torch.randn(2, 5, 8), torch.rand(2, 8)
    assert norm(x).dtype == norm.gated(x, gate).dtype == torch.float32
    monkeypatch.setattr(torch, 'is_autocast_enabled', lambda device: True)
    dtype = torch.get_autocast_dtype('cuda') if before_product else torch.float32
    assert norm(x).dtype == norm(x.half()).dtype == norm.gated(x, gate).dtype == dtype
