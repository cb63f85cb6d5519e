"""Every building block against the official code's numbers and the literal formulas."""

import numpy as np
import official
import pytest
import torch
import torch.nn.functional as F
from reference import fan as literal
from reference.memory import peak_memory
from torch import nn

from fan_mm.models.checkpoints import to_ours
from fan_mm.models.layers import (
    ChannelLayerNorm,
    ChannelSelfAttention,
    ClassAttentionBlock,
    ConvMlp,
    ConvPatchEmbed,
    DWConv,
    EfficientChannelAttention,
    FANBlock,
    FourierPositionEncoding,
    OverlapDownsample,
    SqueezeExciteAttention,
    TokenMixing,
    as_map,
    as_tokens,
    attention,
    checkpoint,
    convnext_stem,
    linear,
    mlp,
)
from fan_mm.models.layers.convolution import depthwise
from fan_mm.models.layers.position_encoding import fourier_code

BN = dict(type='BN')
GRID = (3, 5)
ECA, SE = EfficientChannelAttention, SqueezeExciteAttention
Block, Class = FANBlock, ClassAttentionBlock
Downsample, NeXt = OverlapDownsample, convnext_stem


def randomised(module, std=0.3):
    torch.manual_seed(1)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            nn.init.normal_(tensor, std=std)
            if tensor.ndim == 1:
                tensor.abs_().add_(0.5)
    return module


@pytest.fixture(params=[1, 2], ids=['1-thread', '2-threads'])
def threads(request):
    """Products take other ways with one thread than with several."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


# Unit: the module, where a FAN holds it, how its input is passed and its output compared.
UNITS = {
    'eca_h4': (lambda: ECA(32, 4, 64, BN), 'blocks.0.mlp.'),
    'eca_chead8': (lambda: ECA(32, 8, 64, BN), 'blocks.0.mlp.'),
    'eps_eca': (lambda: ECA(32, 4, 64, BN), 'blocks.0.mlp.'),
    'swin_channel_processing': (lambda: ECA(32, 4, 64, BN, identity=False), 'blocks.0.mlp.'),
    'seg_swin_channel_processing': (lambda: ECA(32, 8, 64, BN), 'blocks.0.mlp.'),
    'se_mlp': (lambda: SE(32, 4, 64, BN), 'blocks.0.mlp.'),
    'fan_mlp': (lambda: ConvMlp(32, 64, BN), 'blocks.0.mlp.mlp_v.'),
    'token_mixing': (lambda: TokenMixing(32, 4), 'blocks.0.attn.'),
    'fan_block': (lambda: Block(32, 4, 128, BN), 'blocks.0.'),
    'fan_block_small_input_eps': (lambda: Block(32, 4, 128, BN), 'blocks.0.'),
    'eps_fan_block': (lambda: Block(32, 4, 128, BN), 'blocks.0.'),
    'se_block': (lambda: Block(32, 4, 128, BN, channel_attention='se'), 'blocks.0.'),
    'class_attn_block_tokens_norm_True': (lambda: Class(32, 4, 128), 'cls_attn_blocks.0.'),
    'class_attn_block_tokens_norm_False': (
        lambda: Class(32, 4, 128, tokens_norm=False),
        'cls_attn_blocks.0.',
    ),
    'eps_class_attn_block': (lambda: Class(32, 4, 128), 'cls_attn_blocks.0.'),
    'pos_enc_cls': (lambda: FourierPositionEncoding(16), 'pos_embed.'),
    'pos_enc_dense': (lambda: FourierPositionEncoding(16, False), 'pos_embed.'),
    'conv_patch_embed_p16': (lambda: ConvPatchEmbed(32, BN, 16), 'patch_embed.'),
    'conv_patch_embed_p8': (lambda: ConvPatchEmbed(32, BN, 8), 'patch_embed.'),
    'conv_patch_embed_p4': (lambda: ConvPatchEmbed(32, BN, 4), 'patch_embed.'),
    'overlap_patch_embed': (lambda: Downsample(16, 24), 'blocks.19.downsample.'),
    'eps_overlap_patch_embed': (lambda: Downsample(16, 24), 'blocks.19.downsample.'),
    'convnext_stem': (lambda: NeXt.ConvNeXtStem((16,), (0,)).stem, ''),
    'convnext_block_sample_variance': (lambda: NeXt.ConvNeXtBlock(16), ''),
    'convnext_block_population_variance': (lambda: NeXt.ConvNeXtBlock(16, False), ''),
    'eps_convnext_block': (lambda: NeXt.ConvNeXtBlock(16), ''),
    'convnext_stage_downsample': (
        lambda: NeXt.ConvNeXtStage(8, 16, 1, True),
        'patch_embed.backbone.stages.1.',
    ),
}


def load_unit(name):
    make, prefix = UNITS[name]
    module, arrays = make(), official.golden('unit_modules')
    ours = to_ours(f'{prefix}x').removesuffix('x')
    state = {
        to_ours(prefix + key.removeprefix(f'{name}/param/')).removeprefix(ours): torch.from_numpy(
            arrays[key]
        )
        for key in arrays
        if key.startswith(f'{name}/param/')
    }
    module.load_state_dict(state, strict=True)
    return module.eval(), {
        key.removeprefix(f'{name}/'): value
        for key, value in arrays.items()
        if key.startswith(f'{name}/') and '/param/' not in key
    }


def apply_unit(module, x):
    """Call a module as its kind wants it; the output in the golden's layout."""
    if isinstance(module, FourierPositionEncoding):
        grid = tuple(int(side) for side in x)
        return as_map(module(grid), grid)
    if isinstance(module, ClassAttentionBlock):
        return torch.cat(module(x[:, :1], x[:, 1:]), dim=1)
    if isinstance(module, ConvPatchEmbed):
        return module(x)[1].flatten(1, 2)
    if isinstance(module, OverlapDownsample):
        return module(x, (6, 7))[0]
    if isinstance(module, nn.ModuleList):  # the stem's convolution and norm
        conv, norm = module
        return norm(conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    if isinstance(module, convnext_stem.ConvNeXtBlock | convnext_stem.ConvNeXtStage):
        return module(x.permute(0, 2, 3, 1).contiguous()).permute(0, 3, 1, 2)
    if isinstance(module, TokenMixing):
        return module(x)
    return module(x, GRID)


@pytest.mark.usefixtures('threads')
@pytest.mark.parametrize('name', UNITS)
@pytest.mark.parametrize('inference', [False, True])
def test_unit_goldens(name, inference):
    module, golden = load_unit(name)
    with torch.inference_mode(inference):
        out = apply_unit(module, torch.from_numpy(golden['input']))
    expected = golden['output']
    scale = max(1, np.abs(expected).max())
    np.testing.assert_allclose(out.detach().numpy(), expected, atol=1e-6 * scale, rtol=0)


@pytest.mark.parametrize('name', ['eca_h4', 'eca_chead8'])
def test_gate_of_channel_attention(name):
    module, golden = load_unit(name)
    tokens = torch.from_numpy(golden['input'])
    gate = module.gate(tokens, module.q(tokens))
    expected = golden['gate_times_temperature'].reshape(2, 32)
    np.testing.assert_allclose(gate.detach().numpy(), expected, atol=1e-6)
    assert expected.min() < 0.35 < 0.75 < expected.max()  # the unit would catch a constant gate


@pytest.mark.parametrize('paired', [True, False])
def test_fourier_code_before_its_projection(paired):
    name = 'pos_enc_cls' if paired else 'pos_enc_dense'
    code = official.golden('unit_modules')[f'{name}/code_before_projection'][0]
    rows, columns = (fourier_code(length, paired).numpy() for length in GRID)
    np.testing.assert_allclose(rows.T[:, :, None].repeat(5, 2), code[:32], atol=1e-6)
    np.testing.assert_allclose(columns.T[:, None].repeat(3, 1), code[32:], atol=1e-6)


def test_position_codes_train_after_inference_mode():
    encoding = FourierPositionEncoding(16)
    with torch.inference_mode():
        encoding((3, 5))
    encoding((3, 5)).sum().backward()
    assert encoding.token_projection.weight.grad.abs().sum() > 0


def test_position_code_is_float32_under_autocast():
    encoding = FourierPositionEncoding(16)
    with torch.autocast('cpu', torch.bfloat16):
        code = encoding((7, 9))
    assert code.dtype == torch.float32
    assert torch.equal(code, encoding((7, 9)))


def test_the_literal_reference_reproduces_the_units():
    """The reference is trusted elsewhere, so it must earn it."""
    for name, apply in {
        'token_mixing': lambda x, p: literal.token_mixing(x, p, 4),
        'eca_chead8': lambda x, p: literal.eca(x, p, GRID, False),
        'eps_eca': lambda x, p: literal.eca(x, p, GRID, False),
        'swin_channel_processing': lambda x, p: literal.eca(x, p, GRID, False, identity=False),
        'se_mlp': lambda x, p: literal.se_mlp(x, p, GRID, False),
        'eps_fan_block': lambda x, p: literal.fan_block(x, p, 4, GRID),
        'eps_class_attn_block': lambda x, p: literal.class_attention_block(x, p, 4),
        'class_attn_block_tokens_norm_False': lambda x, p: literal.class_attention_block(
            x, p, 4, tokens_norm=False
        ),
        'convnext_block_population_variance': lambda x, p: literal.convnext_block(x, p, False),
        'eps_convnext_block': lambda x, p: literal.convnext_block(x, p, True),
        'eps_overlap_patch_embed': lambda x, p: literal.overlap_downsample(x, p, (6, 7))[0],
    }.items():
        arrays = official.golden('unit_modules')
        parameters = {
            key.removeprefix(f'{name}/param/'): torch.from_numpy(value)
            for key, value in arrays.items()
            if key.startswith(f'{name}/param/')
        }
        out = apply(torch.from_numpy(arrays[f'{name}/input']), parameters).numpy()
        expected = arrays[f'{name}/output']
        scale = max(1, np.abs(expected).max())
        np.testing.assert_allclose(out, expected, atol=1e-6 * scale, rtol=0, err_msg=name)


def test_full_channel_self_attention_is_equation_6():
    module = randomised(ChannelSelfAttention(24, 3, 48, BN)).double().eval()
    tokens = torch.randn(2, 15, 24, dtype=torch.double)
    parameters = {key.replace('mlp.', 'mlp_v.'): v for key, v in module.state_dict().items()}
    expected = literal.csa(tokens, parameters, 3, GRID, False)
    torch.testing.assert_close(module(tokens, GRID), expected)
    q, k, v = (
        literal.heads_first(t, 3)
        for t in (module.q(tokens), module.k(tokens), module.mlp(tokens, GRID))
    )
    # Written out for one channel of one head: rows of weights over the head's 8 channels.
    weights = torch.softmax((q[0, 1].T @ k[0, 1])[5] / 15**0.5, dim=0)
    torch.testing.assert_close(expected[0, :, 8 + 5], v[0, 1] @ weights)


@pytest.mark.parametrize('unbiased', [True, False])
def test_layer_norm_divisor(unbiased):
    norm = randomised(ChannelLayerNorm(6, unbiased=unbiased)).double()
    x = 1e-3 * torch.randn(4, 5, 6, dtype=torch.double)
    var = x.var(-1, unbiased=unbiased, keepdim=True)
    expected = (x - x.mean(-1, keepdim=True)) / (var + 1e-6).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(norm(x), expected)


def test_tokens_and_maps_share_memory():
    tokens = torch.randn(2, 15, 8)
    x = as_map(tokens, GRID)
    assert x.shape == (2, 8, 3, 5)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert x[1, 3, 2, 4] == tokens[1, 2 * 5 + 4, 3]
    assert as_tokens(x).data_ptr() == tokens.data_ptr()
    assert torch.equal(as_tokens(x.contiguous()), tokens)


@pytest.mark.usefixtures('threads')
@pytest.mark.parametrize('shape', [(2, 7, 12), (30, 12), (2, 3, 5, 12), (1, 1, 12), (0, 12)])
@pytest.mark.parametrize('bias', [True, False])
def test_pointwise_is_a_linear_layer(shape, bias):
    x = torch.randn(shape, requires_grad=True)
    weight, bias = torch.randn(20, 12, requires_grad=True), torch.randn(20) if bias else None
    ours, plain = linear.pointwise(x, weight, bias), F.linear(x, weight, bias)
    torch.testing.assert_close(ours, plain)
    if x.numel():
        gradients = [torch.autograd.grad(y.square().sum(), (x, weight)) for y in (ours, plain)]
        torch.testing.assert_close(*gradients)


def test_traced_graphs_keep_plain_products():
    layer, tokens = linear.Linear(8, 8), torch.randn(1, 3, 8)
    graph = str(torch.jit.trace(layer, tokens).graph)
    assert 'aten::linear' in graph
    assert 'conv' not in graph


@pytest.mark.usefixtures('threads')
@pytest.mark.parametrize('tokens', [600, 1100])
def test_attention_in_blocks_of_queries(tokens, monkeypatch):
    monkeypatch.setattr(attention, 'mkl_is_half_as_wide', lambda: True)
    monkeypatch.setattr(attention, 'MANY_TOKENS', 600)
    monkeypatch.setattr(attention, 'SCORES', 70 * tokens)
    q, k, v = torch.randn(3, 2, tokens, 3, 8).transpose(2, 3)
    expected = ((q @ k.mT) / 8**0.5).softmax(-1) @ v
    torch.testing.assert_close(attention.attention(q, k, v), expected)
    with torch.no_grad():
        blocks = attention.attention(q, k, v)
    torch.testing.assert_close(blocks, expected)
    assert blocks.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize(
    ('processor', 'expected'),
    [
        (dict(cpu_name='AMD EPYC 9654', avx512_f=True, avx_vnni=False), False),  # Zen 4
        (dict(cpu_name='AMD EPYC 9755', avx512_f=True, avx_vnni=True), True),  # Zen 5
        (dict(cpu_name='Intel(R) Xeon(R) Platinum 8481C', avx512_f=True, avx_vnni=True), False),
        (dict(architecture='aarch64'), False),
        ({}, False),
    ],
)
def test_processors_on_which_mkl_is_slow(processor, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: processor, raising=False)
    assert linear.mkl_is_half_as_wide.__wrapped__() == expected


@pytest.mark.usefixtures('threads')
@pytest.mark.parametrize('blocks', [False, True])
@pytest.mark.parametrize('inference', [False, True])
def test_memory_of_token_mixing_grows_with_the_tokens(inference, blocks, monkeypatch):
    monkeypatch.setattr(attention, 'mkl_is_half_as_wide', lambda: blocks)
    dim, heads = 64, 4
    mixing = TokenMixing(dim, heads)

    def work(tokens):
        x = torch.randn(1, tokens, dim)
        with torch.inference_mode(inference):
            mixing(x) if inference else mixing(x).sum().backward()

    work(64)
    few, many = (peak_memory(lambda n=n: work(n), 'cpu') for n in (2048, 8192))
    matrix = 4 * heads * 8192**2  # bytes of the N x N attention weights
    assert many < 6 * few + 2**24
    assert many < matrix / 10


@pytest.mark.usefixtures('threads')
def test_hidden_parts_equal_the_whole(monkeypatch):
    """Inference splits the hidden channels; so must not change anything, whatever the split."""
    tokens = torch.randn(2, 15, 32)
    for identity in (True, False):
        module = randomised(ConvMlp(32, 200, BN, identity)).eval()
        expected = module(tokens, GRID)
        for size in (1, 15 * 2 * 100, 2**20):
            monkeypatch.setattr(mlp, 'PART_SIZE', size)
            with torch.no_grad():
                torch.testing.assert_close(module(tokens, GRID), expected)
    block = randomised(convnext_stem.ConvNeXtBlock(8))
    x = torch.randn(2, 5, 7, 8, requires_grad=True)
    outputs, gradients = [], []
    for size in (1, 32 * 11, 2**20):
        monkeypatch.setattr(convnext_stem, 'PART_SIZE', size)
        outputs.append(block(x))
        gradients.append(torch.autograd.grad(outputs[-1].square().sum(), block.parameters()))
        with torch.no_grad():
            outputs.append(block(x))
    for out in outputs[1:]:
        torch.testing.assert_close(out, outputs[0])
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0])


def test_inference_leaves_its_input_alone():
    """Layers overwrite hidden values only, never what they were given."""
    for module in (FANBlock(32, 4, 128, BN), EfficientChannelAttention(32, 4, 64, BN)):
        tokens = torch.randn(2, 15, 32)
        before = tokens.clone()
        with torch.no_grad():
            apply_unit(randomised(module).eval(), tokens)
        assert torch.equal(tokens, before)
    x = torch.randn(1, 6, 6, 16)
    before = x.clone()
    with torch.no_grad():
        convnext_stem.ConvNeXtBlock(16)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize('norm_cfg', [dict(type='GN', num_groups=4), dict(type='BN', affine=False)])
def test_other_norms_in_the_mlp(norm_cfg):
    module = ConvMlp(16, 32, norm_cfg).eval()
    tokens = torch.randn(2, 15, 16)
    with torch.no_grad():
        inferred = module(tokens, GRID)
    torch.testing.assert_close(inferred, module(tokens, GRID))


def test_layer_scale_of_the_mlp_scales_the_depthwise_output():
    module = randomised(DWConv(16, BN)).eval()
    tokens, gamma = torch.randn(2, 15, 16), torch.randn(16)
    torch.testing.assert_close(module(tokens, GRID, gamma), gamma * module(tokens, GRID))


def test_patch_tokens_need_no_class_token():
    block = randomised(ClassAttentionBlock(32, 4, 64))
    dense = ClassAttentionBlock(32, 4, 64, class_token=False)
    assert {key.split('.')[0] for key in dense.state_dict()} == {'gamma1', 'norm1', 'norm2'}
    dense.load_state_dict(block.state_dict(), strict=False)
    token, patches = torch.randn(2, 1, 32), torch.randn(2, 6, 32)
    torch.testing.assert_close(dense.forward_patches(patches), block(token, patches)[1])


@pytest.mark.parametrize('norm', ['BN', 'SyncBN'])
def test_checkpointing_counts_a_batch_once(norm):
    plain, saving = (randomised(FANBlock(16, 2, 64, dict(type=norm))).train() for _ in range(2))
    tokens = torch.randn(2, 15, 16, requires_grad=True)
    outputs = plain(tokens, GRID), checkpoint(saving, tokens, GRID)
    torch.testing.assert_close(*outputs)
    for out, module in zip(outputs, (plain, saving), strict=True):
        out.square().sum().backward(retain_graph=True)
        out.square().sum().backward()  # recomputes again
        assert module.channel_attention.mlp.dwconv.bn.track_running_stats
    torch.testing.assert_close(
        {k: p.grad for k, p in plain.named_parameters()},
        {k: p.grad for k, p in saving.named_parameters()},
    )
    buffers = dict(saving.named_buffers())
    assert buffers['channel_attention.mlp.dwconv.bn.num_batches_tracked'] != 0
    torch.testing.assert_close(dict(plain.named_buffers()), buffers)


def test_drop_path_skips_whole_samples():
    torch.manual_seed(0)
    block = randomised(FANBlock(16, 2, 64, BN, drop_path=0.5)).train()
    tokens = torch.randn(64, 15, 16)
    change = (block(tokens, GRID) - tokens).abs().amax((1, 2))
    skipped = (change == 0).sum().item()
    assert 4 < skipped < 32  # a quarter of the samples skip both branches
    assert torch.equal(block.eval()(tokens, GRID), block(tokens, GRID))


@pytest.mark.parametrize('size', [3, 5, 7, 9])
@pytest.mark.parametrize('shape', [(1, 16, 9, 13), (3, 8, 4, 2), (2, 5, 1, 1)])
@pytest.mark.parametrize('layout', [torch.channels_last, torch.contiguous_format])
def test_gradients_of_depthwise_convolutions(size, shape, layout):
    """Those of wide kernels are computed in a way of their own on a CPU; twice differentiable."""
    torch.manual_seed(0)
    x = torch.randn(shape).contiguous(memory_format=layout)
    weight, bias = torch.randn(shape[1], 1, size, size), torch.randn(shape[1])
    inputs = [tensor.requires_grad_() for tensor in (x, weight, bias)]

    def plain(x, weight, bias):
        return F.conv2d(x, weight, bias, padding=size // 2, groups=len(weight))

    found = []
    for function in (depthwise, plain):
        y = function(*inputs)
        first = torch.autograd.grad(y.square().sum(), inputs, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
        found.append([y, *first, *second])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())
