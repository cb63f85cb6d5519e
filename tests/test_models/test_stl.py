"""Self-emerging token labeling: losses, labels and released checkpoints as the official code's."""

import copy
import json

import numpy as np
import official
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

pytest.importorskip('mmpretrain')
from mmpretrain.structures import DataSample

from fan_mm.errors import InputError
from fan_mm.models.classifiers import STLStudent
from fan_mm.models.conversion import convert
from fan_mm.models.heads import TokenLabelHead
from fan_mm.models.heads.token_labels import token_cross_entropy, token_labels

GOLDEN = json.loads((official.DATA / 'golden/stl_losses.json').read_text())
ARRAYS = official.golden('stl_losses')
TOKEN = 'fan_tiny_8_p4_hybrid_token'
ARCH = dict(embed_dims=24, depth=2, num_heads=2, stem_depths=(1, 1), stem_channels=(8, 16))


def normal(seed, shape, scale):
    draws = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return torch.from_numpy(draws * np.float32(scale))


CLS, TOK = normal(10, (4, 1000), 2), normal(11, (4, 6, 1000), 2)
TEACHER = normal(12, (4, 6, 1000), 3)


def mixed_target(smoothing=0.0):
    """Labels 3, 7, 1, 5 mixed with their reverse by 0.37."""
    y = torch.nn.functional.one_hot(torch.tensor([3, 7, 1, 5]), 1000).float()
    y = 0.37 * y + 0.63 * y.flip(0)
    return (1 - smoothing) * y + smoothing / 1000


def loss(**options):
    """The head's losses of the golden logits: its classifiers are replaced by identities."""
    labels = options.pop('labels', None)
    head = TokenLabelHead(1000, 1000, **options)
    head.fc = head.token_fc = torch.nn.Identity()
    samples = [DataSample().set_gt_score(y) for y in mixed_target()]
    losses = head.loss((torch.cat((CLS[:, None], TOK), 1),), samples, labels)
    return {name: value.item() for name, value in losses.items()}


def test_mixed_target_is_the_goldens():
    assert np.allclose(mixed_target(0.1), ARRAYS['target_mixup_lam0.37_ls0.1'], atol=1e-7)


@pytest.mark.parametrize(
    'options, expected',
    [
        (dict(tokens='mean'), GOLDEN['stage1_cls_with_single_token_label']),
        (dict(tokens='mean', cls_weight=0), GOLDEN['stage1_single_token_label']),
        (dict(tokens='each'), GOLDEN['stage1_repeat_label_over_tokens']),
        (dict(dense_weight=0), GOLDEN['parts']['cls_ce']),
    ],
)
def test_labelers_losses(options, expected):
    assert sum(loss(**options).values()) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('weights', [dict(cls_weight=0), dict(dense_weight=0)])
def test_weights_of_zero_leave_no_parameter_without_gradient(weights):
    head = TokenLabelHead(10, 24, **weights)
    assert head.scores == ('class' if 'dense_weight' in weights else 'tokens')
    samples = [DataSample().set_gt_label(3) for _ in range(2)]
    sum(head.loss((torch.randn(2, 5, 24),), samples).values()).backward()
    silent, taught = head.fc.weight.grad, head.token_fc.weight.grad
    if 'dense_weight' in weights:
        silent, taught = taught, silent
    assert silent.abs().max() == 0 < taught.abs().max()


@pytest.mark.parametrize(
    'kind, total, part',
    [
        ('gumbel', GOLDEN['stage2_gumbel_seed0'], GOLDEN['parts']['tok_ce_gumbel']),
        ('argmax', GOLDEN['stage2_no_gumbel'], GOLDEN['parts']['tok_ce_no_gumbel']),
        ('soft', GOLDEN['stage2_softmax'], None),
    ],
)
def test_students_losses(kind, total, part):
    torch.manual_seed(0)
    losses = loss(tokens='each', labels=token_labels(TEACHER, kind))
    assert sum(losses.values()) == pytest.approx(total, rel=1e-6)
    assert losses['loss_cls'] == pytest.approx(GOLDEN['parts']['cls_ce'], rel=1e-6)
    if part:
        assert losses['loss_token'] == pytest.approx(part, rel=1e-6)


def test_labels_are_the_goldens():
    torch.manual_seed(0)
    drawn = token_labels(TEACHER)
    assert np.array_equal(drawn, ARRAYS['gumbel_seed0_argmax'])
    torch.manual_seed(0)
    hard = torch.nn.functional.gumbel_softmax(TEACHER, tau=1, hard=True)
    assert torch.equal(drawn, hard.argmax(-1))
    assert np.array_equal(token_labels(TEACHER, 'argmax'), ARRAYS['argmax_labels'])


def test_gumbel_draws_from_the_teachers_distribution():
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0]).expand(40000, 4)
    torch.manual_seed(0)
    shares = token_labels(logits).bincount(minlength=4) / len(logits)
    assert torch.allclose(shares, logits[0].softmax(0), atol=0.01)


def test_smoothing_knows_the_number_of_classes():
    """The official constant 1000 would leave 0.099 of ten classes' target missing."""
    z, labels = torch.randn(3, 5, 10), torch.randint(0, 10, (3, 5))
    dense = 0.9 * torch.nn.functional.one_hot(labels, 10) + 0.01
    expected = -(dense * z.log_softmax(-1)).sum(-1).mean()
    assert torch.allclose(token_cross_entropy(z, labels, 0.1), expected)
    on = GOLDEN['gumbel_seed0_on_value'], GOLDEN['gumbel_off_value']
    assert on == pytest.approx((0.9 + 0.1 / 1000, 0.1 / 1000), rel=1e-4)


def build(cfg):
    """A model as a Runner makes it for training."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg)
    if cfg.get('teacher'):
        model.init_weights()
    return model


def official_config(repo_root, stage):
    cfg = Config.fromfile(repo_root / f'configs/fan_hybrid_t_stl_{stage}_imagenet.py')
    cfg.model.data_preprocessor = cfg.data_preprocessor
    return cfg.model


@pytest.fixture(scope='module')
def released(tmp_path_factory):
    """A file as NVIDIA's: EMA weights the goldens', the other weights zero."""
    state = official.state_dict(TOKEN)
    path = tmp_path_factory.mktemp('released') / 'fan_tiny_token.pth.tar'
    zeros = {key: torch.zeros_like(value) for key, value in state.items()}
    torch.save(dict(state_dict=zeros, state_dict_ema=state, epoch=349), path)
    return path


@pytest.mark.parametrize('stage', ['teacher', 'student'])
def test_released_checkpoint_gives_official_logits(repo_root, released, stage):
    """Through the classifier of a config of ours, class and token head and evaluation ensemble."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(official_config(repo_root, stage)).eval()  # no teacher is loaded
    content = torch.load(released, weights_only=True)
    missing, unexpected = model.load_state_dict(convert(content).state_dict, strict=False)
    assert not missing and not unexpected
    golden = official.golden(TOKEN)
    with torch.inference_mode():
        feats = model.backbone(official.images(2, 3, 224, 224))
        cls, tokens = model.head.logits(feats)
        assert np.abs(model.head(feats).numpy() - golden['cls_logits']).max() < 2e-5
        assert np.abs(cls.numpy() - golden['cls_logits']).max() < 2e-5
        some = tokens[:, [0, 100, 195]].numpy()
        assert np.abs(some - golden['token_logits_tok0_100_195']).max() < 2e-5
        assert (tokens.argmax(-1).numpy() == golden['token_argmax']).mean() > 0.999
        model.head.scores = 'ensemble'
        assert np.abs(model.head(feats).numpy() - golden['eval_ensemble_logits']).max() < 2e-5
        model.head.scores = 'tokens'
        assert torch.allclose(model.head(feats), tokens.mean(1), atol=1e-5)


def test_released_file_is_a_teacher_as_it_is(repo_root, released):
    """Its EMA weights, in eval mode, without gradient, and no part of the student."""
    cfg = official_config(repo_root, 'student')
    cfg.teacher = str(released)
    cfg.token_labels = 'argmax'
    student = build(cfg).train()
    images = official.images(2, 3, 224, 224)
    labels = student.teacher.label(images, 'argmax', mean=False)
    golden = official.golden(TOKEN)['token_argmax']
    assert (labels.numpy() == golden).mean() > 0.999
    assert not labels.is_inference()
    assert not student.teacher.model.training
    assert not any(p.requires_grad for p in student.teacher.model.parameters())
    assert not [name for name in student.state_dict() if 'teacher' in name]
    assert len(list(student.parameters())) == len(list(build(official_config_of(cfg)).parameters()))
    assert copy.deepcopy(student).teacher is student.teacher
    fresh = student.backbone.state_dict()['blocks.0.gamma1']
    assert torch.equal(fresh, torch.ones_like(fresh))  # the student starts from scratch


def official_config_of(cfg):
    cfg = copy.deepcopy(cfg)
    cfg.teacher = None
    return cfg


def tiny(**options):
    model = dict(
        type='STLStudent',
        backbone=dict(type='FANHybrid', arch=ARCH, out_type='raw'),
        head=dict(type='TokenLabelHead', num_classes=10, in_channels=24, tokens='each'),
        data_preprocessor=dict(num_classes=10, mean=[127.0] * 3, std=[50.0] * 3, to_rgb=True),
    )
    return model | options


@pytest.fixture(scope='module')
def tiny_teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
    torch.manual_seed(3)
    torch.save(dict(state_dict=build(tiny()).state_dict(), meta={}), path)
    return str(path)


def batch(count=4, size=32):
    torch.manual_seed(0)
    images = torch.randint(0, 256, (2, count, 3, size, size), dtype=torch.uint8)
    samples = [DataSample().set_gt_label(i) for i in range(count)]
    return dict(inputs=images[0], teacher_inputs=images[1], data_samples=samples)


def test_mixing_touches_the_student_alone(tiny_teacher):
    augments = dict(augments=[dict(type='Mixup', alpha=0.8)])
    student = build(tiny(teacher=tiny_teacher, train_cfg=augments))
    data = batch()
    torch.manual_seed(1)
    np.random.seed(1)
    done = student.data_preprocessor(data, True)

    def plain(x):
        return (x.flip(1).float() - 127) / 50

    assert torch.allclose(done['teacher_inputs'], plain(data['teacher_inputs']))
    assert not torch.allclose(done['inputs'], plain(data['inputs']))
    scores = torch.stack([sample.gt_score for sample in done['data_samples']])
    assert torch.allclose(scores.sum(1), torch.ones(4)) and (scores.max(1).values < 1).any()
    test = student.data_preprocessor(dict(inputs=data['inputs']), False)
    assert 'teacher_inputs' not in test and torch.allclose(test['inputs'], plain(data['inputs']))


@pytest.mark.parametrize('kind', ['gumbel', 'argmax', 'soft'])
@pytest.mark.parametrize('tokens', ['each', 'mean'])
def test_every_parameter_learns(tiny_teacher, kind, tokens):
    """So DDP needs no find_unused_parameters; the teacher stays as it is and leaves train mode on."""
    cfg = tiny(teacher=tiny_teacher, token_labels=kind)
    cfg['head'] = dict(cfg['head'], tokens=tokens)
    student = build(cfg).train()
    before = copy.deepcopy(student.teacher.model.state_dict())
    data = student.data_preprocessor(batch(), True)
    losses = student(**data, mode='loss')
    assert set(losses) == {'loss_cls', 'loss_token'}
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in student.parameters())
    assert student.training and student.backbone.training
    after = student.teacher.model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_teacher_follows_mixed_precision(tiny_teacher):
    student = build(tiny(teacher=tiny_teacher))
    seen = []
    student.teacher.model.head.token_fc.register_forward_hook(
        lambda module, args, output: seen.append(output.dtype)
    )
    images = torch.randn(1, 3, 32, 32)
    student.teacher.label(images, 'argmax', mean=False)
    with torch.autocast('cpu', torch.bfloat16):
        student.teacher.label(images, 'argmax', mean=False)
    assert seen == [torch.float32, torch.bfloat16]


def test_misfitting_teachers_are_refused(tiny_teacher, tmp_path, released):
    with pytest.raises(InputError, match=r'teacher.*the checkpoint is a FANHybrid tiny'):
        build(tiny(teacher=str(released), head=dict(tiny()['head'], num_classes=1000)))
    with pytest.raises(InputError, match='it has 10 classes, the config has 7'):
        build(tiny(teacher=tiny_teacher, head=dict(tiny()['head'], num_classes=7)))
    with pytest.raises(InputError, match='the teacher has 10 classes, the student 7'):
        build(
            tiny(
                teacher=tiny_teacher,
                head=dict(tiny()['head'], num_classes=7),
                teacher_model=dict(head=tiny()['head']),
            )
        )
    with pytest.raises(InputError, match='no such checkpoint'):
        build(tiny(teacher='nowhere.pth'))
    plain = tmp_path / 'classifier.pth'
    state = torch.load(tiny_teacher, weights_only=True)['state_dict']
    torch.save({k: v for k, v in state.items() if 'token_fc' not in k}, plain)
    with pytest.raises(InputError, match='it does not classify tokens'):
        build(tiny(teacher=str(plain)))
    with pytest.raises(InputError, match='token_labels must be one of'):
        build(tiny(token_labels='random'))
    with pytest.raises(InputError, match=r'needs a teacher: --cfg-options model.teacher'):
        build(tiny())(torch.zeros(1, 3, 32, 32), [], mode='loss')


def test_teacher_of_another_stride_is_refused(tiny_teacher):
    student = build(tiny(teacher=tiny_teacher))
    student.teacher.label = lambda images, kind, mean: torch.zeros(len(images), 9, dtype=torch.long)
    data = student.data_preprocessor(batch(), True)
    with pytest.raises(InputError, match='the teacher labels 9 tokens, the student has 4'):
        student(**data, mode='loss')


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(tokens='all'), 'tokens must be one of'),
        (dict(scores='both'), 'scores must be one of'),
        (dict(cls_weight=0, dense_weight=0), 'not both 0'),
    ],
)
def test_bad_options_of_the_head_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        TokenLabelHead(10, 24, **options)


def test_a_backbone_without_tokens_is_refused():
    head = TokenLabelHead(10, 24)
    with pytest.raises(InputError, match="out_type='raw'"):
        head((torch.zeros(2, 24),))


def test_a_student_initialises_dense_backbones(tmp_path):
    """By init_cfg alone: class attention's token, heads and final norm are left out."""
    student = build(tiny())
    path = tmp_path / 'student.pth'
    torch.save(dict(state_dict=student.state_dict(), meta={}), path)
    assert isinstance(student, STLStudent)
    for options in (dict(), dict(last_stage_channels=48, out_norm=True)):
        backbone = MODELS.build(
            dict(
                type='FANHybrid',
                arch=ARCH,
                out_indices=(0, 1, 2, 3),
                init_cfg=dict(type='Pretrained', checkpoint=str(path)),
                **options,
            )
        )
        backbone.init_weights()
        mine = student.backbone.state_dict()
        for name, value in backbone.state_dict().items():
            if not name.startswith(('learnable_downsample', 'out_norm')):
                assert torch.equal(value, mine[name]), name
