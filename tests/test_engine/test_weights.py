import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModule, BaseTTAModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import IterBasedTrainLoop
from torch import nn

from fan_mm.analysis import subject
from fan_mm.engine import weights
from fan_mm.engine.runtime import register_task_library
from fan_mm.engine.weights import LoadFromHook, check_start, load_weights
from fan_mm.errors import InputError
from fan_mm.jobs.training import train
from fan_mm.models.backbones import FANHybrid, FANSwin
from fan_mm.models.checkpoints import to_official
from fan_mm.models.conversion import classifier_state

ARCH = dict(embed_dims=24, depth=2, num_heads=2, stem_depths=(1, 1), stem_channels=(8, 16))


class Averaged(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        raise NotImplementedError


class Segmentor(nn.Module):
    def __init__(self, embed_dims=24, classes=19):
        super().__init__()
        self.backbone = FANHybrid(dict(ARCH, embed_dims=embed_dims))
        self.decode_head = nn.Sequential(nn.Conv2d(24, classes, 1), nn.BatchNorm2d(classes))

    def test_step(self, data):
        raise NotImplementedError


@pytest.fixture
def model():
    return Segmentor()


def test_own_weights_fit(model):
    state = Segmentor().state_dict()
    load_weights(model, state, 'f.pth')
    load_weights(model, dict(state_dict=state, meta={}), 'f.pth')
    load_weights(model, {f'module.{name}': value for name, value in state.items()}, 'f.pth')
    load_weights(nn.DataParallel(model), state, 'f.pth')
    load_weights(Averaged(model), state, 'f.pth')
    assert model.state_dict()['decode_head.0.weight'].equal(state['decode_head.0.weight'])


@pytest.mark.parametrize('other', [dict(classes=150), dict(embed_dims=32)])
def test_other_shapes_are_refused(model, other):
    with pytest.raises(InputError, match='does not match the config') as error:
        load_weights(model, Segmentor(**other).state_dict(), 'f.pth')
    assert '\n' not in str(error.value)


def test_a_part_is_refused(model):
    state = model.backbone.state_dict(prefix='backbone.')
    with pytest.raises(InputError, match=r'lacks \d+ of \d+ tensors, such as decode_head.0.weight'):
        load_weights(model, state, 'f.pth')
    with pytest.raises(InputError, match='contains no weights'):
        load_weights(model, [], 'f.pth')


def test_another_models_file_is_said_first(model):
    other = {
        'decode_head.0.weight': torch.zeros(150, 24, 1, 1),
        'backbone.conv1.weight': torch.zeros(1),
    }
    for state in (
        other,
        {'backbone.conv1.weight': torch.zeros(1), 'decode_head.0.bias': torch.zeros(19)},
    ):
        model.backbone = nn.Sequential(*(nn.Linear(1, 1) for _ in range(9)))
        with pytest.raises(
            InputError, match="it has 1 of the model's 25 tensors, so it belongs to another"
        ):
            load_weights(model, state, 'f.pth')


def test_official_names_count_as_the_models(model):
    backbone = model.backbone.state_dict()
    state = {f'backbone.{to_official(name)}': value for name, value in backbone.items()}
    state['decode_head.0.weight'] = torch.zeros(150, 24, 1, 1)
    assert len(state.keys() & model.state_dict().keys()) < len(backbone)
    with pytest.raises(InputError, match=r'the shape of decode_head.0.weight differs'):
        load_weights(model, state, 'f.pth')


@pytest.mark.parametrize(
    ('options', 'needed', 'message'),
    [
        (dict(), dict(paired_frequencies=False), r'model\.backbone\.paired_frequencies=False$'),
        (dict(paired_frequencies=False), dict(), r'model\.backbone\.paired_frequencies=True$'),
        (dict(), dict(out_norm=True), r'model\.backbone\.out_norm=True$'),
        (dict(), dict(out_indices=(2, 3)), r'"model\.backbone\.out_indices=\(2,3\)"$'),
    ],
)
def test_options_that_a_converted_file_needs(model, options, needed, message):
    model.backbone = FANHybrid(ARCH, **options)
    meta = dict(backbone=dict(type='FANHybrid', arch='small', **needed))
    content = dict(state_dict=model.state_dict(), meta=meta)
    with pytest.raises(InputError, match=message) as error:
        load_weights(model, content, 'f.pth')
    assert '\n' not in str(error.value)
    model.backbone = FANHybrid(ARCH, **needed)
    if not needed.get('out_norm'):  # it has weights of its own
        load_weights(model, content, 'f.pth')
    load_weights(model, dict(content, state_dict=model.state_dict(), meta=dict(backbone='x')), 'f')


def test_the_form_of_a_converted_fan_swin(model):
    arch = dict(embed_dims=24, depths=(1, 1), num_heads=(2, 4))
    model.backbone = FANSwin(arch, mlp_identity=True)
    content = dict(state_dict=model.state_dict(), meta=dict(backbone=dict(always_shift=True)))
    with pytest.raises(InputError, match=r'always_shift=True model\.backbone\.mlp_identity=False$'):
        load_weights(model, content, 'f.pth')


def test_old_batch_norms_fit(model):
    state = model.state_dict()
    load_weights(model, {k: v for k, v in state.items() if 'num_batches' not in k}, 'f.pth')


# --- files of a head on top of init_cfg


@pytest.fixture
def pretrained(tmp_path):
    """A backbone's file, a model whose init_cfg names it, and the state of a head alone."""
    torch.manual_seed(3)
    backbone, path = FANHybrid(ARCH), tmp_path / 'backbone.pth'
    torch.save({to_official(k): v for k, v in backbone.state_dict().items()}, path)
    target = Segmentor()
    target.backbone = FANHybrid(ARCH, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    head = Segmentor().decode_head.state_dict(prefix='decode_head.')
    return backbone, target, head


@pytest.mark.parametrize('container', [dict, lambda state: dict(state_dict=state)])
def test_a_head_alone_gets_the_backbone_of_init_cfg(pretrained, container):
    backbone, target, head = pretrained
    load_weights(target, container(head), 'f.pth')
    own = target.state_dict()
    assert all(torch.equal(own[f'backbone.{k}'], v) for k, v in backbone.state_dict().items())
    assert all(torch.equal(own[k], v) for k, v in head.items())


def test_a_whole_file_does_not_read_init_cfg(pretrained, tmp_path):
    _, target, _ = pretrained
    (tmp_path / 'backbone.pth').unlink()
    load_weights(target, Segmentor().state_dict(), 'f.pth')


def test_what_is_missing_is_said(pretrained, model, tmp_path):
    _, target, head = pretrained
    with pytest.raises(
        InputError, match=r'contains part .* lacks \d+ of \d+ tensors, such as backbone\.'
    ):  # no init_cfg: random weights
        load_weights(model, head, 'f.pth')
    half = dict(list(model.backbone.state_dict(prefix='backbone.').items())[:-2]) | head
    with pytest.raises(InputError, match='lacks 2 of'):  # two trainings are not mixed
        load_weights(target, half, 'f.pth')
    bias = {k: v for k, v in head.items() if k != 'decode_head.0.bias'}
    with pytest.raises(InputError, match=r'lacks 1 of \d+ tensors, such as decode_head\.0\.bias'):
        load_weights(target, bias, 'f.pth')
    (tmp_path / 'backbone.pth').unlink()
    with pytest.raises(
        InputError, match=r'f\.pth lacks backbone\.\S+, and the init_cfg .* no such'
    ):
        load_weights(target, head, 'f.pth')


def test_other_backbones_get_their_init_cfg_too(tmp_path):
    class Net(BaseModule):
        def __init__(self, init_cfg=None):
            super().__init__(init_cfg)
            self.body = nn.Linear(3, 3)

    class Model(nn.Module):
        def __init__(self, init_cfg=None):
            super().__init__()
            self.trunk, self.top = Net(init_cfg), nn.Linear(3, 2)

    torch.save({f'module.trunk.{k}': v for k, v in Net().state_dict().items()}, tmp_path / 'n.pth')
    target = Model(dict(type='Pretrained', checkpoint=str(tmp_path / 'n.pth')))
    load_weights(target, nn.Linear(3, 2).state_dict(prefix='top.'), 'f.pth')
    stored = torch.load(tmp_path / 'n.pth')
    assert torch.equal(target.trunk.body.weight, stored['module.trunk.body.weight'])


def test_adapters_upon_random_weights_are_refused(tmp_path):
    mmpretrain = pytest.importorskip('mmpretrain.models')

    def built(init_cfg=None):
        torch.manual_seed(0)
        base = dict(type='FANHybrid', arch=dict(ARCH), init_cfg=init_cfg)
        lora = mmpretrain.LoRAModel(
            module=base, alpha=4, rank=2, targets=[dict(type=r'.*token_mixing\.q')]
        )
        return nn.ModuleDict({'backbone': lora, 'head': nn.Linear(2, 2)})

    with pytest.raises(InputError, match=r'only adapters, .*set backbone\.module\.init_cfg'):
        load_weights(built(), built().state_dict(), 'f.pth')
    torch.save(FANHybrid(ARCH).state_dict(), tmp_path / 'n.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'n.pth'))
    load_weights(built(init_cfg), built().state_dict(), 'f.pth')


def test_a_released_file_is_no_whole_model(model):
    state = {to_official(k): v for k, v in model.backbone.state_dict().items()}
    with pytest.raises(InputError, match='a FAN in the released format') as error:
        load_weights(model, dict(state_dict=state), 'f.pth')
    assert '\n' not in str(error.value)


# --- load_from


def hook(model, checkpoint, resume=False, loop=None):
    told = dict(_load_from='f.pth', _resume=resume, logger=logging.getLogger(), _train_loop=loop)
    runner = SimpleNamespace(model=model, **told)
    LoadFromHook().after_load_checkpoint(runner, checkpoint)
    return checkpoint


def test_the_usual_file_is_left_alone(model):
    state = Segmentor(classes=3).state_dict()
    content = dict(state_dict=state, ema_state_dict={f'module.{k}': v for k, v in state.items()})
    assert hook(model, content)['state_dict'] is state


def test_a_training_of_another_number_of_classes_is_not_resumed(model):
    """mmengine would, with a random head."""
    words = (
        r"^f\.pth is of another config's training .*: decode_head\..* is \[3\b.* in it, and \[\d"
    )
    with pytest.raises(InputError, match=words):
        hook(model, dict(state_dict=Segmentor(classes=3).state_dict()), resume=True)
    assert hook(model, dict(state_dict=model.state_dict()), resume=True)
    seen = model.state_dict()
    model.register_buffer('seen', torch.zeros(0))  # which grows while training
    assert hook(model, dict(state_dict=seen | {'seen': torch.zeros(5)}), resume=True)


@pytest.mark.parametrize(
    ('content', 'below'),
    [
        (lambda s, o: dict(state_dict=o, state_dict_ema=s), 'state_dict_ema'),
        (
            lambda s, o: dict(state_dict=o, ema={f'module.{k}': v for k, v in s.items()}),
            'ema.module',
        ),
        (lambda s, o: dict(state_dict=s), None),
        (lambda s, o: dict(state_dict_ema=s), None),
        # as mmengine's EMAHook saves it: the average is state_dict
        (lambda s, o: dict(state_dict=s, ema_state_dict={**o, 'steps': torch.ones(1)}), None),
    ],
)
def test_averages_that_are_not_taken_are_said(model, content, below, monkeypatch):
    """Once, in tests and at the start of a training."""
    state = model.state_dict()
    other = {name: torch.zeros_like(value) for name, value in state.items()}
    training, lines = IterBasedTrainLoop.__new__(IterBasedTrainLoop), []
    monkeypatch.setattr(weights, 'warn', lines.append)
    for step in (
        lambda: load_weights(model, content(state, other), 'f.pth'),
        lambda: hook(model, content(state, other), loop=training),
    ):
        lines.clear()
        step()
        assert len(lines) == bool(below)
        assert all(f'f.pth also has averaged weights below {below},' in line for line in lines)
    lines.clear()
    hook(model, content(state, other), loop=dict(type='IterBasedTrainLoop'))  # before a test
    assert lines == []


def test_all_tools_take_the_average_of_a_training_with_averages(model, tmp_path):
    """mmengine's EMAHook saves it as ``state_dict``."""
    average = model.state_dict()
    plain = {f'module.{name}': torch.zeros_like(value) for name, value in average.items()}
    content = dict(state_dict=average, ema_state_dict={**plain, 'steps': torch.tensor(7)}, meta={})
    torch.save(content, tmp_path / 'f.pth')
    tested, analysed = Segmentor(), Segmentor().backbone
    load_weights(tested, content, 'f.pth')  # tests, sweeps, demos, exports
    subject._load(analysed, str(tmp_path / 'f.pth'))
    ood, kind = classifier_state(content, None, model)
    assert hook(model, dict(content))['state_dict'] is average and kind == 'ema'
    for name, value in average.items():
        assert torch.equal(tested.state_dict()[name], value)
        assert torch.equal(ood[name], value)
    for name, value in analysed.state_dict().items():
        assert torch.equal(value, average[f'backbone.{name}'])


def test_weights_without_values(model):
    state = model.state_dict()
    state['decode_head.0.bias'] = torch.empty(3, device='meta')
    with pytest.raises(InputError, match=r'bias has no values .meta device.: save the weights'):
        load_weights(model, dict(state_dict=state), 'f.pth')


def test_a_file_of_which_nothing_would_be_loaded(model):
    with pytest.raises(InputError, match=r'has none of the .* nothing would be loaded'):
        hook(model, {'layer1.0.conv1.weight': torch.ones(1), 'fc.bias': torch.ones(1)})
    state = Segmentor().state_dict()
    state['decode_head.0.bias'] *= float('nan')
    with pytest.raises(InputError, match=r'f\.pth: decode_head\.0\.bias has values that are NaN'):
        hook(model, dict(state_dict=state))


@pytest.mark.parametrize('prefix', ['', '_orig_mod.', 'net.', 'student.'])
def test_a_training_really_starts_from_it(prefix, tmp_path, tiny_config):
    pytest.importorskip('mmseg')
    cfg = Config.fromfile(tiny_config)
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    cfg.optim_wrapper.optimizer.lr = 0.0
    cfg.custom_hooks = [dict(type='EMAHook')]
    cfg.work_dir = str(tmp_path / 'work')
    register_task_library(cfg)
    with DefaultScope.overwrite_default_scope('mmseg'):
        source = MODELS.build(cfg.model)
    for parameter in source.parameters():
        nn.init.constant_(parameter, 0.02)
    state = {prefix + name: value for name, value in source.state_dict().items()}
    torch.save(state, tmp_path / 'start.pth')
    cfg.load_from = str(tmp_path / 'start.pth')
    train(cfg)
    saved = torch.load(f'{cfg.work_dir}/iter_1.pth', weights_only=True)['state_dict']
    for name, parameter in source.named_parameters():
        assert torch.equal(saved[name], parameter), name


def test_a_training_starts_from_a_whole_model(model, tmp_path):
    config, path = dict(backbone=dict(type='FANHybrid')), tmp_path / 'f.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    check_start(config, str(path))
    torch.save(dict(state_dict=model.backbone.state_dict()), path)  # as NVIDIA's files are
    with pytest.raises(
        InputError, match=r'not a whole model, .* model\.backbone\.init_cfg'
    ) as error:
        check_start(config, str(path))
    assert '\n' not in str(error.value)


def test_a_training_starts_from_a_head_alone(model, tmp_path):
    """Upon the backbone that ``init_cfg`` loads; its names say whose it is."""
    config, path = dict(backbone=dict(type='FANHybrid'), decode_head=dict()), tmp_path / 'f.pth'
    head = model.decode_head.state_dict(prefix='decode_head.')
    torch.save(dict(state_dict=head), path)
    check_start(config, str(path))
    torch.save(dict(state_dict={'norm.weight': torch.ones(3), **head}), path)
    with pytest.raises(InputError, match='not a whole model'):
        check_start(config, str(path))


def test_another_size_is_said_with_its_file(model):
    with pytest.raises(
        InputError, match=r'^f\.pth: the checkpoint is a FANHybrid .* but the model'
    ):
        hook(model, dict(state_dict=Segmentor(embed_dims=32).state_dict()))
