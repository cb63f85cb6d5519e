"""FAN-ViT and FAN-Hybrid in training: gradients, checkpointing, frozen stages, initial values, layer-wise decay."""

import copy
import io

import pytest
import torch
from small_backbones import HYBRID, IDS, SMALL, SMALL_IDS, VARIANTS, VIT, all_outputs, make
from small_models import shallow
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fan_mm.models import FANHybrid, FANViT
from fan_mm.models.layers import OverlapDownsample


@pytest.mark.parametrize(('backbone', 'arch'), VARIANTS, ids=IDS)
def test_every_variant_trains_and_runs_in_bfloat16(backbone, arch):
    """With all widths of the variant and few of its blocks."""
    torch.manual_seed(0)
    few = shallow(dict(type=backbone.__name__, arch=arch))['arch']
    module = backbone(few, out_type='cls_token', with_cp=arch in ('large', 'xlarge')).train()
    images = torch.randn(2, 3, 32, 64)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01, foreach=False)
    (out,) = module(images)
    (out * torch.randn_like(out)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    before = module.blocks[0].gamma2.detach().clone()
    optimizer.step()
    assert not torch.equal(module.blocks[0].gamma2, before)
    module.zero_grad()
    module.eval()
    with torch.no_grad():
        (expected,) = module(images)
        with torch.autocast('cpu', torch.bfloat16):
            (out,) = module(images)
        if arch in ('tiny', 'small'):
            buffer = io.BytesIO()
            torch.save(module, buffer)
            buffer.seek(0)
            for other in (copy.deepcopy(module), torch.load(buffer, weights_only=False)):
                assert torch.equal(other(images)[0], expected)
    assert out.isfinite().all()
    assert nn.functional.cosine_similarity(out.float(), expected).min() > 0.98


@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
@pytest.mark.parametrize('attention', ['eca', 'se', 'csa'])
def test_checkpointing_changes_nothing(backbone, arch, attention):
    options = dict(out_indices=all_outputs(backbone, arch), channel_attention=attention)
    plain, saving = (make(backbone, arch, with_cp=cp, **options).train() for cp in (False, True))
    images = torch.randn(2, 3, 48, 64)
    for module in (plain, saving):
        sum(x.square().mean() for x in module(images)).backward()
    for a, b in zip(plain.named_parameters(), saving.named_parameters(), strict=True):
        torch.testing.assert_close(a[1].grad, b[1].grad, msg=a[0])
    torch.testing.assert_close(dict(plain.named_buffers()), dict(saving.named_buffers()))


def test_compiled_checkpointing_changes_nothing():
    """In one graph, and batch statistics are counted once."""
    backbone, arch = SMALL[0]
    plain, saving = (make(backbone, arch, with_cp=cp).train() for cp in (False, True))
    images = torch.randn(2, 3, 48, 64)
    plain(images)[0].square().mean().backward()
    torch.compile(saving, backend='aot_eager', fullgraph=True)(images)[0].square().mean().backward()
    for a, b in zip(plain.named_parameters(), saving.named_parameters(), strict=True):
        torch.testing.assert_close(a[1].grad, b[1].grad, msg=a[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(dict(plain.named_buffers()), dict(saving.named_buffers()))


@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
def test_checkpointing_saves_memory(backbone, arch):
    kept = []
    for with_cp in (False, True):
        module, stored = make(backbone, arch, with_cp=with_cp).train(), []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, stored=stored: stored.append(x.nelement()) or x, lambda x: x
        ):
            module(torch.randn(2, 3, 64, 64))
        kept.append(sum(stored))
    assert kept[1] < kept[0] / 2


@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
@pytest.mark.parametrize('out_type', ['featmap', 'avg_featmap', 'raw', 'cls_token'])
def test_every_parameter_gets_a_gradient(backbone, arch, out_type):
    """For every choice of outputs: DDP needs no find_unused_parameters."""
    count = len(all_outputs(backbone, arch))
    choices = [(i,) for i in range(count)] + [tuple(range(count)), (0, count - 1)]
    for out_indices in choices if 'featmap' in out_type else [(-1,)]:
        module = make(backbone, arch, out_type=out_type, out_indices=out_indices).train()
        sum(x.square().sum() for x in module(torch.randn(2, 3, 48, 48))).backward()
        assert not [name for name, p in module.named_parameters() if p.grad is None], out_indices


@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
def test_gradients_lie_in_memory_as_their_weights(backbone, arch):
    """Else DDP warns that it reduces them slowly."""
    module = make(backbone, arch).train()
    sum(x.square().sum() for x in module(torch.randn(2, 3, 64, 64))).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad.stride() == parameter.stride(), name


@pytest.mark.parametrize('out_norm', [False, True])
@pytest.mark.parametrize('backbone', [FANViT, FANHybrid])
def test_frozen_stages(backbone, out_norm):
    arch = VIT if backbone is FANViT else HYBRID
    images = torch.randn(2, 3, 32, 32)
    outputs = all_outputs(backbone, arch)
    options = dict(out_indices=outputs, out_norm=out_norm)
    for frozen in range(-1, len(outputs) + 1):
        module = make(backbone, arch, frozen_stages=frozen, **options).train()
        trainable = {name for name, p in module.named_parameters() if p.requires_grad}
        if frozen == -1:
            assert len(trainable) == len(list(module.parameters()))
            continue
        assert not {name for name in trainable if name.startswith('patch_embed.backbone.stem')}
        if backbone is FANViT:
            assert not {name for name in trainable if name.startswith(('patch_embed', 'pos_embed'))}
        before = {name: value.clone() for name, value in module.named_buffers()}
        maps = module(images)
        # What a frozen stage produces has no gradient, the next stage's has.
        assert [x.requires_grad for x in maps] == [i >= frozen for i in outputs]
        for name, value in module.named_buffers():
            weight = f'{name.rpartition(".")[0]}.weight'
            assert torch.equal(value, before[name]) == (weight not in trainable)
        assert not trainable if frozen == len(outputs) else trainable


def test_frozen_modules_stay_in_eval_mode():
    module = make(FANViT, VIT, frozen_stages=2, drop_path_rate=0.5).train()
    assert [block.drop_path.training for block in module.blocks] == [False, False, True]
    assert not module.patch_embed.proj[0][1].training
    assert not module.eval().training


def test_norm_eval_and_norm_cfg():
    module = make(FANHybrid, HYBRID, norm_eval=True).train()
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    assert len(norms) == 3
    assert not any(norm.training for norm in norms)
    assert module.blocks[0].training
    synchronised = make(FANViT, VIT, norm_cfg=dict(type='SyncBN', requires_grad=True))
    norms = [m for m in synchronised.modules() if isinstance(m, _BatchNorm)]
    assert len(norms) == 4 + 3
    assert all(isinstance(m, nn.SyncBatchNorm) for m in norms)


def test_drop_path_is_constant_and_spares_class_attention():
    module = FANHybrid(HYBRID, drop_path_rate=0.3)
    assert [block.drop_path.drop_prob for block in module.blocks] == [0.3] * 3
    assert sum(type(m).__name__ == 'DropPath' for m in module.modules()) == 3


@pytest.mark.parametrize(
    ('backbone', 'expected'),
    [
        (
            FANViT,
            {'patch_embed': 0, 'pos_embed': 0, 'blocks.0': 1, 'blocks.2': 3, 'cls_token': 4}
            | {'cls_attn_blocks.0': 4, 'cls_attn_blocks.1': 5, 'norm': 6},
        ),
        (
            FANHybrid,
            {'patch_embed.backbone.stem': 0, 'patch_embed.backbone.stages.0': 1}
            | {'patch_embed.backbone.stages.1': 2, 'patch_embed.proj': 3, 'pos_embed': 3}
            | {'blocks.0': 3, 'blocks.2': 5, 'cls_token': 6, 'cls_attn_blocks.1': 7, 'norm': 8},
        ),
    ],
)
def test_layer_depth(backbone, expected):
    module = backbone(VIT if backbone is FANViT else HYBRID, out_type='cls_token')
    total = max(expected.values()) + 1
    seen = set()
    for name, _ in module.named_parameters():
        depth, count = module.get_layer_depth(f'backbone.{name}', 'backbone.')
        assert count == total
        seen.add(depth)
        for prefix, value in expected.items():
            assert not name.startswith(prefix + '.') or depth == value, name
    assert seen == set(range(total))
    assert module.get_layer_depth('head.fc.weight', 'backbone.') == (total - 1, total)
    assert module.get_layer_depth('cls_token')[0] == expected['cls_token']


def test_initial_values():
    torch.manual_seed(0)
    module = FANHybrid('tiny', out_type='cls_token', last_stage_channels=None)
    block, embed = module.blocks[0], module.patch_embed
    for weight, std in (
        (block.token_mixing.kv.weight, 0.02),
        (block.channel_attention.mlp.fc1.weight, 0.02),
        (module.cls_attn_blocks[0].mlp.fc2.weight, 0.02),
        (module.cls_token, 0.02),
        (block.channel_attention.mlp.dwconv.conv1.weight, (2 / 9) ** 0.5),
        (embed.backbone.stages[0].blocks[0].mlp.fc1.weight, 0.02),
        (embed.backbone.stages[0].blocks[0].conv_dw.weight, 0.02),
        # PyTorch's own: uniform within 1 / sqrt(fan_in)
        (embed.proj.weight, (1 / (256 * 4) / 3) ** 0.5),
        (module.pos_embed.token_projection.weight, (1 / 64 / 3) ** 0.5),
    ):
        assert weight.std().item() == pytest.approx(std, rel=0.12)
    for bias in (block.token_mixing.q.bias, embed.backbone.stem[0].bias):
        assert not bias.any()
    assert (embed.backbone.stages[1].blocks[0].gamma == 1e-6).all()
    for ones in (
        block.gamma1,
        block.gamma2,
        block.channel_attention.temperature,
        module.norm.weight,
    ):
        assert (ones == 1).all()
    downsample = OverlapDownsample(64, 64).proj
    assert downsample.weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
    before = copy.deepcopy(module.state_dict())
    module.init_weights()
    torch.testing.assert_close(module.state_dict(), before)


def test_init_cfg_overrides():
    module = FANViT(VIT, init_cfg=dict(type='Constant', layer='Linear', val=0.5, bias=0.25))
    module.init_weights()
    assert (module.blocks[0].token_mixing.q.weight == 0.5).all()
    assert (module.blocks[0].channel_attention.q.bias == 0.25).all()


def test_small_float64_gradients_equal_the_literal_reference():
    """The whole training path, BN statistics and layer scales included, on odd sizes."""
    from reference import fan as literal

    from fan_mm.models.checkpoints import to_official

    module = make(FANHybrid, HYBRID, out_indices=(0, 1, 2, 3)).double().train()
    whole = make(FANHybrid, HYBRID, out_type='raw').double()
    state = {key: value.clone() for key, value in whole.state_dict().items()}
    module.load_state_dict(state)
    parameters = {
        to_official(key): value.requires_grad_('running' not in key and value.is_floating_point())
        for key, value in state.items()
    }
    images = torch.randn(2, 3, 52, 71, dtype=torch.double)
    maps, _ = literal.forward(parameters, images, (2, 2), (1,), training=True)
    sum(x.square().mean() for x in maps).backward()
    sum(x.square().mean() for x in module(images)).backward()
    for key, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.grad, parameters[to_official(key)].grad, msg=key)
    for key, buffer in module.named_buffers():
        if 'running' in key:
            torch.testing.assert_close(buffer, parameters[to_official(key)])
