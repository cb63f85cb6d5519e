"""Where a file has two that fit, one line asks which, unless one of them is meant."""

import pytest
import torch
from named_weights import Classifier, ResNet, equal, prefixed
from small_models import SMALL_HYBRID, small_hybrid

from fan_mm.analysis.subject import _load as load_subject
from fan_mm.engine.weights import load_weights
from fan_mm.errors import InputError
from fan_mm.models import FANHybrid
from fan_mm.models.checkpoints import load_pretrained


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
    teacher = FANHybrid({**SMALL_HYBRID, 'depth': 3, 'embed_dims': 64}).state_dict(
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
