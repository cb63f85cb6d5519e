"""What necks and heads expect of a backbone, compared with what it gives: each kind by itself."""

from contextlib import nullcontext

import pytest
from mmengine.registry import MODELS

from fan_mm.engine.checks import models
from fan_mm.errors import InputError

GIVEN = [8, 16, 24]


@pytest.mark.parametrize(
    ('parts', 'found'),
    [
        (None, []),
        ('name', []),
        (dict(type='A'), [('model.head', dict(type='A'))]),
        ([dict(type='A'), None], [('model.head.0', dict(type='A'))]),
        ((None, dict(type='A')), [('model.head.1', dict(type='A'))]),
    ],
)
def test_parts(parts, found):
    assert list(models.parts_of(dict(head=parts), 'head')) == found


@pytest.mark.parametrize(
    ('kind', 'channels', 'fits'),
    [
        ('FPN', [8, 16, 24], True),
        ('FPN', (8, 16, 24), True),
        ('mmdet.FPN', [16, 24], False),
        ('SimpleFeaturePyramid', [24, 16, 8], False),
        ('YOLOV3Neck', [24, 16], True),
        ('YOLOV3Neck', [24, 32], False),
        ('YOLOV3Neck', [8, 16, 24, 24], True),
        ('Own', 24, True),  # of the last
        ('Own', 8, False),
    ],
)
def test_necks(kind, channels, fits):
    last = 24 if isinstance(channels, int) else r'\[8, 16, 24\]'
    words = rf'^model\.neck\.in_channels is .*, but must be {last}: the backbone is FAN$'
    with nullcontext() if fits else pytest.raises(InputError, match=words):
        models._check_neck(dict(type=kind, in_channels=channels), GIVEN, 'FAN')


POOL, OWN, NOPE = dict(type='GlobalAveragePooling'), dict(type='OwnNeck'), dict(type='Nope')
LINEAR, SEQUENCE = dict(type='LinearClsHead'), dict(type='VigHead')


@pytest.mark.parametrize(
    ('out_type', 'neck', 'head', 'words'),
    [
        ('cls_token', None, LINEAR, None),
        ('cls_token', OWN, LINEAR, None),
        (
            'cls_token',
            POOL,
            LINEAR,
            r"^model\.neck pools maps, but FAN returns none with out_type='cls_token': set",
        ),
        ('featmap', POOL, LINEAR, None),
        ('featmap', OWN, LINEAR, None),
        (
            'featmap',
            None,
            LINEAR,
            r'^model\.head takes one vector per image, but FAN returns maps:',
        ),
        (
            'featmap',
            None,
            SEQUENCE,
            r'^model\.head takes one vector per image, but FAN returns maps',
        ),
        ('raw', None, SEQUENCE, None),
        (
            'raw',
            None,
            LINEAR,
            r'^model\.head takes one vector per image, but FAN returns all tokens',
        ),
        ('raw', OWN, dict(type='mmpretrain.LinearClsHead'), r'but FAN returns all tokens'),
        ('raw', POOL, SEQUENCE, r'^model\.neck pools maps'),
        ('avg_featmap', [POOL], LINEAR, None),  # several
    ],
)
def test_heads_of_vectors(out_type, neck, head, words):
    with pytest.raises(InputError, match=words) if words else nullcontext():
        models._check_pooling('FAN', out_type, neck, head)


@pytest.mark.parametrize(
    ('index', 'found'),
    [(-1, 24), (0, 8), ([0, 2], [8, 24]), ([-1], [24]), (3, None), ([0, 3], None)],
)
def test_outputs_by_index(index, found):
    words = r'^model\.head\.in_index is .*3.*, but the backbone is FAN$'
    with pytest.raises(InputError, match=words) if found is None else nullcontext():
        assert models._select('model.head', GIVEN, index, 'FAN') == found


class Foreign:
    """A base of another library, whose arguments ours pass on or do not."""

    def __init__(self, foreign=1):
        raise NotImplementedError


class Backbone(Foreign):
    """Stands for one of ours."""

    def __init__(self, depth=1, out_type='featmap', init_cfg=None):
        assert init_cfg is None, 'weights of the checkpoint are not for a trial'
        self.out_type = out_type
        self.out_channels = tuple(GIVEN[: 2 + depth])


class Wider(Backbone):
    def __init__(self, width=1, **options):
        super().__init__(**options)


Backbone.__module__ = Wider.__module__ = 'fan_mm.models.backbones.some'


@pytest.fixture
def known(monkeypatch):
    """Everything is registered, the backbones among them."""
    classes = {'Wider': Wider, 'Own': object}

    def registered(registry, place, part):
        assert registry is MODELS
        if part['type'] == 'Nope':
            raise InputError(f'{place}: nothing is registered as Nope')
        return classes.get(part['type'], object)

    monkeypatch.setattr(models, 'registered', registered)
    monkeypatch.setattr(MODELS, 'build', lambda cfg: classes[cfg.pop('type')](**cfg))


WIDER = dict(type='Wider', init_cfg='given')
ONE, ALL = dict(type='H', in_channels=24), dict(type='H', in_channels=[8, 16, 24])


@pytest.mark.parametrize(
    ('model', 'words'),
    [
        (dict(backbone=WIDER, decode_head=ONE), None),
        (dict(backbone=dict(WIDER, width=2), decode_head=ALL), None),
        (dict(backbone=WIDER, decode_head=dict(ONE, in_index=0)), 'decode_head.in_channels is 24'),
        (dict(backbone=WIDER, decode_head=dict(ONE, in_index=[2])), 'decode_head.* is 24, but must be .24.: '),
        (dict(backbone=WIDER, decode_head=dict(ALL, in_index=[0, 1])), 'decode_head.*must be .8, 16.: '),
        (dict(backbone=WIDER, decode_head=ONE, auxiliary_head=[ONE, dict(ONE, in_index=1)]),
         'auxiliary_head.1.in_channels is 24, but must be 16: the backbone is '
         r'Wider \(3 outputs of .8, 16, 24. channels\)'),
        (dict(backbone=WIDER, decode_head=dict(type='H')), None),
        (dict(backbone=WIDER, neck=dict(type='N', in_channels=8), decode_head=dict(ONE, in_channels=5)),
         'neck.in_channels is 8, but must be 24'),
        (dict(backbone=WIDER, neck=dict(type='N', in_channels=24), decode_head=dict(ONE, in_channels=5)), None),
        (dict(backbone=WIDER, neck=dict(type='N'), decode_head=dict(ONE, in_channels=5)), None),
        (dict(backbone=WIDER, neck=[POOL], decode_head=dict(ONE, in_channels=5)), None),
        (dict(backbone=WIDER, neck=POOL, head=dict(ONE, in_channels=5)), 'head.in_channels is 5, but must be 24'),
        (dict(backbone=WIDER, head=ONE), 'head takes one vector'),
        (dict(backbone=dict(WIDER, out_type='cls_token'), head=ONE), None),
        (dict(backbone=dict(WIDER, out_type='raw'), head=dict(ONE, type='LinearClsHead')), 'head takes one vector'),
        (dict(module=dict(backbone=WIDER, decode_head=dict(ONE, in_channels=5))), 'decode_head.in_channels is 5'),
        (dict(backbone=WIDER, pretrained='r50.pth'), r'pretrained \(r50.pth\) is for another backbone'),
        (dict(backbone=dict(WIDER, depht=1)), 'backbone: Wider has no argument depht; did you mean depth'),
        (dict(backbone=dict(WIDER, xyz=1)), 'backbone: .* argument xyz; it has depth, init_cfg, out_type, width$'),
        (dict(backbone=dict(type='Own'), pretrained='r50.pth', decode_head=dict(ONE, in_channels=5)), None),
        (dict(backbone=dict(WIDER, foreign=1)), 'backbone: Wider has no argument foreign'),
        (dict(backbone='of its own'), None),
        (dict(backbone='of its own', neck=[OWN, NOPE]), 'neck.1: nothing is registered as Nope'),
        (dict(decode_head=NOPE), 'decode_head: nothing is registered as Nope'),
        (dict(auxiliary_head=(OWN, NOPE)), 'auxiliary_head.1: nothing is registered as Nope'),
        (dict(head=NOPE), 'head: nothing is registered as Nope'),
        (dict(backbone=dict(WIDER, out_type='raw'), neck=dict(OWN, in_channels=24), head=LINEAR), None),
    ],
)  # fmt: skip
def test_models(model, words, known):
    with pytest.raises(InputError, match=f'^model.{words}') if words else nullcontext():
        models.check_model(model)


@pytest.mark.parametrize(
    ('head', 'own', 'refused'),
    [
        (dict(num_classes=2, out_channels=1), None, True),
        (dict(num_classes=1), None, True),
        (dict(num_classes=2), None, False),
        ([dict(num_classes=1), dict(num_classes=2)], None, False),  # the last one decides
        ([dict(num_classes=2), dict(num_classes=1)], None, True),
        (dict(num_classes=1), 'merge_preds', False),
        (dict(num_classes=1), 'forward', True),
    ],
)
def test_augmentation_of_a_head_with_one_output(head, own, refused):
    """mmseg's model for it takes the sigmoid of what is a sigmoid already: all would be foreground."""
    merging = pytest.importorskip('mmseg.models').SegTTAModel
    kind = type('Own', (merging,), {own: lambda self: None}) if own else merging
    wrapped = dict(type=kind, module=dict(type='EncoderDecoder', decode_head=head))
    words = '^tta_model: (Own|SegTTAModel) applies the sigmoid of a head with one output twice'
    with pytest.raises(InputError, match=words) if refused else nullcontext():
        models._check_merging(wrapped)
