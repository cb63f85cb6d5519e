"""A model is found in a file under whatever prefix and in whatever container, by every reader."""

import logging
from types import SimpleNamespace

import official
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import load_checkpoint
from safetensors_writer import safetensors
from torch import nn

from fan_mm.analysis.subject import _load as load_subject
from fan_mm.engine import use_safe_loading
from fan_mm.engine.weights import LoadFromHook, check_start, load_weights
from fan_mm.errors import InputError
from fan_mm.models import FANHybrid, FANSwin
from fan_mm.models.checkpoints import find_module, load_pretrained, to_official, unwrap
from fan_mm.models.conversion import classifier_state, convert, convert_file
from fan_mm.models.weight_tree import WeightTree
from fan_mm.torch_files import read_torch_file

HYBRID = dict(embed_dims=32, depth=2, num_heads=4, stem_depths=(1, 2), stem_channels=(8, 16))
PREFIXES = [
    '',
    'module.',
    '_orig_mod.',
    'module._orig_mod.',
    '_orig_mod.module.',
    'model.',
    'net.',
    'model.model.',
    'student.',
    'teacher.',
    'encoder.',
    'a.b.c.',
]
BACKBONE_PREFIXES = [*PREFIXES, 'backbone.', 'model.backbone.', 'model.model.backbone.0.body.']
CONTAINERS = {
    'bare': lambda state: state,
    **{
        name: lambda state, name=name: {name: state, 'epoch': 3, 'optimizer': OPTIMIZER}
        for name in (
            'state_dict',
            'state_dict_ema',
            'model',
            'model_ema',
            'ema_state_dict',
            'module',
            'network',
            'weights',
            'anything',
        )
    },
    'Lightning': lambda state: {
        'pytorch-lightning_version': '2.1',
        'state_dict': state,
        'hyper_parameters': dict(lr=1e-3, arch='fan'),
        'optimizer_states': [OPTIMIZER],
        'loops': {},
    },
    'one level more': lambda state: {'checkpoint': {'model': state}, 'step': torch.tensor(4)},
    'two levels more': lambda state: {'ema': {'module': {'state_dict': state}, 'updates': 7}},
}
OPTIMIZER = {'state': {0: {'exp_avg': torch.zeros(3)}}, 'param_groups': [dict(lr=0.1, params=[0])]}


class Classifier(BaseModel):
    """A small FAN and a head, as mmpretrain's ImageClassifier names them."""

    def __init__(self, seed=0, backbone=None):
        super().__init__()
        torch.manual_seed(seed)
        self.backbone = backbone or FANHybrid(dict(HYBRID), out_type='cls_token')
        self.head = nn.Module()
        self.head.fc = nn.Linear(32, 5)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        raise NotImplementedError


class ResNet(BaseModel):
    """No FAN, and no ``backbone``."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.body = nn.ModuleList([nn.Linear(4, 4) for _ in range(5)])

    def forward(self, inputs, data_samples=None, mode='tensor'):
        raise NotImplementedError


@pytest.fixture(scope='module')
def classifier():
    return Classifier(seed=1)


def official_names(state):
    return {to_official(key): value for key, value in state.items()}


def prefixed(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def small_hybrid():
    torch.manual_seed(0)
    return FANHybrid(dict(HYBRID), out_type='cls_token')


# Every prefix in a few containers, every container with a few prefixes.
PLACES = [
    *((prefix, container) for prefix in PREFIXES for container in ('bare', 'state_dict')),
    *((prefix, container) for container in CONTAINERS for prefix in ('', 'net.')),
]
FILES = [('model.', 'Lightning'), ('module.', 'state_dict_ema'), ('student.', 'one level more')]


@pytest.mark.parametrize('prefix', BACKBONE_PREFIXES)
@pytest.mark.parametrize('names', [official_names, dict])
def test_a_backbone_is_found_in_every_container(prefix, names, classifier):
    state = names(classifier.backbone.state_dict())
    state |= {'head.weight': torch.ones(5, 32), 'head.bias': torch.zeros(5)}
    backbone = small_hybrid()
    for container in CONTAINERS.values():
        backbone.cls_token.data += 1
        backbone.load_state_dict(container(prefixed(prefix, state)))
        assert equal(backbone, classifier.backbone)


@pytest.mark.parametrize(('prefix', 'container'), FILES)
def test_a_backbone_is_found_by_init_cfg(prefix, container, classifier, tmp_path):
    for names in (official_names, dict):
        state = names(classifier.backbone.state_dict())
        torch.save(CONTAINERS[container](prefixed(prefix, state)), tmp_path / 'f.pth')
        init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'f.pth'))
        backbone = FANHybrid(dict(HYBRID), out_type='cls_token', init_cfg=init_cfg)
        backbone.init_weights()
        assert equal(backbone, classifier.backbone)


@pytest.mark.parametrize('model', [Classifier, ResNet])
def test_a_whole_model_is_found(model):
    source, target = model(seed=1), model()
    for prefix, container in PLACES:
        content = CONTAINERS[container](prefixed(prefix, source.state_dict()))
        next(target.parameters()).data += 1
        load_weights(target, content, 'f.pth')
        assert equal(target, source), (prefix, container)
        state, _ = classifier_state(content, 'model', target)
        assert state.keys() == source.state_dict().keys()


@pytest.mark.parametrize(('prefix', 'container'), FILES)
def test_a_training_may_start_from_it(prefix, container, classifier, tmp_path):
    content = CONTAINERS[container](prefixed(prefix, classifier.state_dict()))
    torch.save(content, tmp_path / 'f.pth')
    check_start(dict(backbone=dict(type='FANHybrid')), tmp_path / 'f.pth')
    target = Classifier()
    checkpoint = read_torch_file(tmp_path / 'f.pth')
    runner = SimpleNamespace(model=target, _load_from='f.pth', logger=logging.getLogger())
    LoadFromHook().after_load_checkpoint(runner, checkpoint)
    target.load_state_dict(checkpoint['state_dict'])  # as mmengine then does
    assert equal(target, classifier)


@pytest.mark.parametrize('prefix', ['', 'module._orig_mod.', 'net.', 'a.b.c.'])
def test_safetensors_are_found_too(prefix, classifier, tmp_path):
    path = tmp_path / 'f.safetensors'
    path.write_bytes(safetensors(prefixed(prefix, classifier.state_dict())))
    target, backbone = Classifier(), small_hybrid()
    load_weights(target, read_torch_file(path), str(path))
    load_pretrained(backbone, path)
    check_start(dict(backbone=dict(type='FANHybrid')), path)
    assert equal(target, classifier)
    assert equal(backbone, classifier.backbone)


TINY = 'fan_tiny_8_p4_hybrid'


def test_the_converter_finds_it():
    state = official.state_dict(TINY, device='meta')
    for prefix, container in [
        *PLACES,
        ('model.backbone.', 'Lightning'),
        ('student.backbone.', 'bare'),
    ]:
        content = CONTAINERS[container](prefixed(prefix, state))
        assert unwrap(content).keys() == state.keys(), (prefix, container)


@pytest.mark.parametrize(('prefix', 'container'), [*FILES, ('student.backbone.', 'bare')])
def test_the_converter_and_the_ood_tool_read_it(prefix, container):
    state = official.state_dict(TINY, device='meta')
    content = CONTAINERS[container](prefixed(prefix, state))
    expected = convert(state).state_dict.keys()
    assert convert(content).state_dict.keys() == expected
    assert classifier_state(content, 'model')[0].keys() == expected


@pytest.mark.parametrize('prefix', ['', 'module.', '_orig_mod.', 'module._orig_mod.'])
@pytest.mark.parametrize('container', ['bare', 'state_dict', 'model', 'one level more'])
def test_mmengines_loader_gets_it_under_the_models_names(prefix, container, classifier, tmp_path):
    """Of wrappers and containers; what lies elsewhere is handed over by `LoadFromHook`."""
    use_safe_loading()
    content = CONTAINERS[container](prefixed(prefix, classifier.state_dict()))
    torch.save(content, tmp_path / 'f.pth')
    target = Classifier()
    load_checkpoint(target, str(tmp_path / 'f.pth'))
    assert equal(target, classifier)


def two(a, b, classifier, container=lambda state: dict(state_dict=state)):
    state = classifier.state_dict()
    other = {key: value + 1 for key, value in state.items()}
    return container(prefixed(a, state) | prefixed(b, other))


@pytest.mark.parametrize(
    ('a', 'b'), [('student.', 'teacher.'), ('model.student.', 'model.teacher.'), ('x.a.', 'x.b.')]
)
def test_two_models_ask_which(a, b, classifier, tmp_path):
    content = two(a, b, classifier)
    path = tmp_path / 'f.pth'
    torch.save(content, path)
    names = rf'below {a}backbone, {b}backbone: choose one with init_cfg\.prefix={a}backbone'
    with pytest.raises(InputError, match=names) as error:
        load_pretrained(small_hybrid(), path)
    assert '\n' not in str(error.value)
    message = rf'below {a[:-1]}, {b[:-1]}: save the weights below one of them'
    with pytest.raises(InputError, match=message):
        load_weights(Classifier(), content, 'f.pth')
    for prefix, plus in ((a, 0), (b, 1)):
        for asked in (prefix, prefix[:-1], f'{prefix}backbone'):
            backbone = small_hybrid()
            load_pretrained(backbone, path, prefix=asked)
            assert torch.equal(backbone.cls_token, classifier.backbone.cls_token + plus)
    for nowhere in ('students', 'backbone'):  # which lies below names that say something
        with pytest.raises(InputError, match=f"nothing below '{nowhere}'"):
            load_pretrained(small_hybrid(), path, prefix=nowhere)


def test_two_dicts_ask_which_but_for_kinds_that_are_documented(classifier, tmp_path):
    state = classifier.state_dict()
    other = {key: value + 1 for key, value in state.items()}
    with pytest.raises(InputError, match='below model, model_ema: save the weights below'):
        load_weights(Classifier(), dict(model=state, model_ema=other), 'f.pth')
    with pytest.raises(InputError, match='below student, teacher: save the weights below'):
        load_weights(Classifier(), dict(student=state, teacher=other), 'f.pth')
    with pytest.raises(InputError, match='below net_a, net_b: save the weights below one'):
        resnet = ResNet().state_dict()
        load_weights(ResNet(), dict(net_a=resnet, net_b=prefixed('', ResNet(1).state_dict())), 'f')
    target = Classifier()
    load_weights(target, dict(state_dict=state, model_ema=other, teacher=other), 'f.pth')
    assert equal(target, classifier)
    load_weights(target, dict(net=state, copy=dict(state)), 'f.pth')  # the same twice
    torch.save(dict(model=state, model_ema=other), tmp_path / 'f.pth')
    for weights, plus in (('model', 0), ('ema', 1), (None, 1)):
        backbone = small_hybrid()
        load_pretrained(backbone, tmp_path / 'f.pth', weights)
        assert torch.equal(backbone.cls_token, classifier.backbone.cls_token + plus)


def test_a_teacher_of_another_size_is_no_question(classifier):
    teacher = FANHybrid({**HYBRID, 'depth': 3, 'embed_dims': 64}).state_dict(
        prefix='teacher.backbone.'
    )
    content = prefixed('student.', classifier.state_dict()) | teacher
    target = Classifier()
    load_weights(target, content, 'f.pth')
    assert equal(target, classifier)


def test_openmmlabs_own_places_come_first(classifier, tmp_path):
    """A momentum copy beside a backbone was never asked for."""
    state = classifier.state_dict()
    copy = {key: value + 1 for key, value in state.items()}
    torch.save(dict(state_dict=state | prefixed('target_net.module.0.', copy)), tmp_path / 'f.pth')
    backbone = small_hybrid()
    load_pretrained(backbone, tmp_path / 'f.pth')
    assert equal(backbone, classifier.backbone)


def test_mmengines_average_is_its_state_dict(classifier, tmp_path):
    average = {key: value + 1 for key, value in classifier.state_dict().items()}
    plain = prefixed('module.', classifier.state_dict()) | {'steps': torch.tensor(3)}
    content = dict(state_dict=average, ema_state_dict=plain, meta={})
    torch.save(content, tmp_path / 'f.pth')
    for weights, plus in (('ema', 1), (None, 1), ('model', 0)):
        backbone = small_hybrid()
        load_pretrained(backbone, tmp_path / 'f.pth', weights)
        assert torch.equal(backbone.cls_token, classifier.backbone.cls_token + plus)
    target = Classifier()
    load_weights(target, content, 'f.pth')
    assert torch.equal(target.backbone.cls_token, classifier.backbone.cls_token + 1)


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


# --- NVIDIA TAO


@pytest.mark.parametrize(
    ('toolkit', 'prefix', 'head'),
    [
        ('classification', 'model.', None),
        ('segformer', 'model.backbone.', 'model.decode_head.linear_c1.proj.weight'),
        ('rtdetr', 'model.model.backbone.0.body.', 'model.model.transformer.level_embed'),
        ('dino', 'student.backbone.', 'student.input_proj.0.0.weight'),
    ],
)
def test_a_tao_file(toolkit, prefix, head, tmp_path):
    state = official.state_dict(TINY)
    if head:
        state = {key: value for key, value in state.items() if 'head' not in key}
    state = prefixed(prefix, state)
    if head:
        state[head] = torch.ones(4, 4)
    path = tmp_path / 'tao.pth'
    torch.save(dict(tao_model=toolkit, state_dict=state, epoch=1), path)
    conversion = convert_file(path, tmp_path / 'ours.pth')
    assert conversion.state_dict['backbone.norm.weight'].shape == (192,)
    assert ('head.fc.weight' in conversion.state_dict) == (toolkit == 'classification')
    if head:
        names = head.removeprefix(prefix.removesuffix('backbone.')), f'state_dict.{head}'
        assert any(conversion.names.get(name) == () for name in names)
        assert any('TAO' in remark for remark in conversion.remarks)
    backbone = FANHybrid('tiny', out_type='cls_token')
    load_pretrained(backbone, path)
    assert torch.equal(backbone.norm.weight, state[f'{prefix}norm.weight'])


def test_taos_fan_swin_has_four_norms(tmp_path):
    state = official.state_dict('fan_swin_tiny_patch4_window7_224')
    taos = {
        key.replace('norm.', 'norm3.', 1) if key.startswith('norm.') else key: v
        for key, v in state.items()
    }
    for i, width in enumerate((96, 192, 384)):
        taos |= {f'norm{i}.weight': torch.ones(width), f'norm{i}.bias': torch.zeros(width)}
    content = dict(tao_model='classification', state_dict=prefixed('model.', taos))
    torch.save(content, tmp_path / 'tao.pth')
    final = FANSwin('tiny', out_type='avg_featmap')
    load_pretrained(final, tmp_path / 'tao.pth')
    assert torch.equal(final.norm.weight, state['norm.weight'])
    dense = FANSwin('tiny', out_indices=(0, 1, 2, 3))
    load_pretrained(dense, tmp_path / 'tao.pth')
    assert torch.equal(dense.norm3.weight, state['norm.weight'])
    conversion = convert(content)
    assert conversion.backbone['out_type'] == 'avg_featmap'
    plain = convert(state)
    assert conversion.state_dict.keys() == plain.state_dict.keys()
    assert all(torch.equal(v, plain.state_dict[key]) for key, v in conversion.state_dict.items())


# --- values


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


def test_the_place_of_a_module(classifier):
    tree = WeightTree(dict(a=dict(b=prefixed('c.', classifier.state_dict()))))
    assert find_module(tree, Classifier()) == 'a.b.c.'
    assert find_module(tree, small_hybrid()) == 'a.b.c.backbone.'
    assert find_module(tree, nn.Linear(32, 5)) == 'a.b.c.head.fc.'


WRAPPED = ['_orig_mod', 'module', '_fsdp_wrapped_module', '_checkpoint_wrapped_module']


def wrapped(state, wrapper):
    """Names as a model's whose backbone, first block and head are wrapped each for itself."""
    for part in ('backbone.', 'backbone.blocks.0.', 'backbone._W_.blocks.0.', 'head.'):
        state = {
            f'{part}_W_.{key.removeprefix(part)}' if key.startswith(part) else key: value
            for key, value in state.items()
        }
    return {key.replace('_W_', wrapper): value for key, value in state.items()}


@pytest.mark.parametrize('outer', ['', 'module.', 'student.'])
@pytest.mark.parametrize('wrapper', WRAPPED)
def test_parts_may_be_wrapped_each_for_itself(wrapper, outer, classifier, tmp_path):
    state = prefixed(outer, wrapped(classifier.state_dict(), wrapper))
    torch.save(dict(state_dict=state), tmp_path / 'f.pth')
    target, started, backbone = Classifier(1), Classifier(1), small_hybrid()
    load_weights(target, dict(state_dict=state), 'f.pth')
    load_pretrained(backbone, tmp_path / 'f.pth')
    checkpoint = dict(state_dict=dict(state))
    runner = SimpleNamespace(model=started, _load_from='f.pth', logger=logging.getLogger())
    LoadFromHook().after_load_checkpoint(runner, checkpoint)
    started.load_state_dict(checkpoint['state_dict'])  # the head alone would come in silence
    assert equal(target, classifier)
    assert equal(started, classifier)
    assert equal(backbone, classifier.backbone)
    assert unwrap(dict(state_dict=state)).keys() == classifier.state_dict().keys()


def test_a_model_with_wrappers_of_its_own_keeps_them(classifier):
    class Compiled(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.ModuleDict({'_orig_mod': nn.Linear(2, 3), 'module': nn.Linear(3, 2)})

    state, target = Compiled().state_dict(), Compiled()
    load_weights(target, state, 'f.pth')
    assert all(torch.equal(value, state[name]) for name, value in target.state_dict().items())


def test_two_that_would_get_one_name_stay_two(classifier):
    tree = WeightTree({'net.x': torch.zeros(1), 'net.module.x': torch.ones(1)})
    tree.unwrap_parts()
    assert set(tree.tensors) == {'net.x', 'net.module.x'}


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


def test_the_converter_is_named_where_it_helps():
    """It takes released sizes only."""
    model = Classifier(backbone=FANHybrid('tiny', out_type='cls_token'))
    state = model.state_dict()
    content = prefixed('a.', state) | prefixed('b.', {k: v + 1 for k, v in state.items()})
    with pytest.raises(InputError, match=r'below a, b: extract one with .* --prefix a'):
        load_weights(model, content, 'f.pth')


def test_analysis_tools_do_not_name_init_cfg(classifier, tmp_path):
    """They read the file of the command line."""
    torch.save(two('a.', 'b.', classifier), tmp_path / 'f.pth')
    with pytest.raises(InputError, match=r'below a\.backbone, b\.backbone: save the weights below'):
        load_subject(small_hybrid(), str(tmp_path / 'f.pth'))
