"""A model is found in a file under whatever prefix and in whatever container, by every reader."""

import logging
from types import SimpleNamespace

import official
import pytest
import torch
from mmengine.runner import load_checkpoint
from named_weights import OPTIMIZER, TINY, Classifier, ResNet, equal, prefixed
from safetensors_writer import safetensors
from small_models import SMALL_HYBRID, small_hybrid
from torch import nn

from fan_mm.engine import use_safe_loading
from fan_mm.engine.weights import LoadFromHook, check_start, load_weights
from fan_mm.models import FANHybrid
from fan_mm.models.checkpoints import find_module, load_pretrained, to_official, unwrap
from fan_mm.models.conversion import classifier_state, convert
from fan_mm.models.weight_tree import WeightTree
from fan_mm.torch_files import read_torch_file

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


def official_names(state):
    return {to_official(key): value for key, value in state.items()}


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
        backbone = FANHybrid(dict(SMALL_HYBRID), out_type='cls_token', init_cfg=init_cfg)
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
    runner = SimpleNamespace(
        model=target,
        _load_from='f.pth',
        _resume=False,
        _train_loop=None,
        logger=logging.getLogger(),
    )
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
    runner = SimpleNamespace(
        model=started,
        _load_from='f.pth',
        _resume=False,
        _train_loop=None,
        logger=logging.getLogger(),
    )
    LoadFromHook().after_load_checkpoint(runner, checkpoint)
    started.load_state_dict(checkpoint['state_dict'])  # the head alone would come in silence
    assert equal(target, classifier)
    assert equal(started, classifier)
    assert equal(backbone, classifier.backbone)
    assert unwrap(dict(state_dict=state)).keys() == classifier.state_dict().keys()


@pytest.mark.parametrize('outer', ['', 'model.', 'module.', 'student.'])
@pytest.mark.parametrize('wrapper', WRAPPED[:2])
@pytest.mark.parametrize('part', ['backbone.', 'head.'])
def test_one_part_alone_may_be_wrapped(part, wrapper, outer, classifier):
    state = {
        f'{wrapper}.{key}' if key.startswith(part) else key: value
        for key, value in classifier.state_dict().items()
    }
    state = prefixed(outer, state)
    for content in (state, dict(state_dict=state)):
        target, started = Classifier(1), Classifier(1)
        load_weights(target, content, 'f.pth')
        assert equal(target, classifier)
        runner = SimpleNamespace(
            model=started,
            _load_from='f.pth',
            _resume=False,
            _train_loop=None,
            logger=logging.getLogger(),
        )
        LoadFromHook().after_load_checkpoint(runner, checkpoint := dict(state_dict=dict(state)))
        started.load_state_dict(checkpoint['state_dict'])  # the head alone would come in silence
        assert equal(started, classifier)


def test_a_part_is_not_taken_from_another_model(classifier):
    """Two backbones, of which one has a wrapper, stay two, and the head is not joined to either."""
    both = prefixed('module.', classifier.state_dict()) | {
        f'backbone.{key}': value for key, value in Classifier(1).backbone.state_dict().items()
    }
    target = Classifier(2)
    load_weights(target, both, 'f.pth')
    assert equal(target, classifier)


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
