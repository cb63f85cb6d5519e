import pytest
import torch
from mmengine.model import BaseTTAModel
from torch import nn

from fan_mm.engine.weights import check_start, load_weights
from fan_mm.errors import InputError
from fan_mm.models.backbones import FANHybrid, FANSwin
from fan_mm.models.checkpoints import to_official

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
    with pytest.raises(InputError, match='does not fit the config') as error:
        load_weights(model, Segmentor(**other).state_dict(), 'f.pth')
    assert '\n' not in str(error.value)


def test_a_part_is_refused(model):
    state = model.backbone.state_dict(prefix='backbone.')
    with pytest.raises(InputError, match=r'lacks \d+ of \d+ tensors, such as decode_head.0.weight'):
        load_weights(model, state, 'f.pth')
    with pytest.raises(InputError, match='holds no weights'):
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
            InputError, match="it has 1 of the model's 25 tensors, so it is another"
        ):
            load_weights(model, state, 'f.pth')


def test_official_names_count_as_the_models(model):
    backbone = model.backbone.state_dict()
    state = {f'backbone.{to_official(name)}': value for name, value in backbone.items()}
    state['decode_head.0.weight'] = torch.zeros(150, 24, 1, 1)
    assert len(state.keys() & model.state_dict().keys()) < len(backbone)
    with pytest.raises(InputError, match=r'the shape of decode_head.0.weight is another'):
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


def test_a_training_starts_from_a_whole_model(model, tmp_path):
    config, path = dict(backbone=dict(type='FANHybrid')), tmp_path / 'f.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    check_start(config, str(path))
    torch.save(dict(state_dict=model.backbone.state_dict()), path)  # as NVIDIA's files are
    with pytest.raises(InputError, match=r'no whole model .* model\.backbone\.init_cfg') as error:
        check_start(config, str(path))
    assert '\n' not in str(error.value)
