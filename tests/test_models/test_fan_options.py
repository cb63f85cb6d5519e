"""Options of FAN backbones that are wrong, and images that are too small: one line that says why."""

import pytest
import torch
from small_backbones import HYBRID, SMALL, SMALL_IDS, VIT, WIDENED, make

from fan_mm.errors import InputError
from fan_mm.models import FANHybrid, FANSwin, FANViT


@pytest.mark.parametrize(
    'options',
    [
        dict(arch=None),
        dict(arch=3),
        dict(arch=dict(VIT, num_heads=0)),
        dict(arch=dict(VIT, depth='4')),
        dict(arch=dict(VIT, embed_dims=-128)),
        dict(out_indices=None),
        dict(out_indices='abc'),
        dict(out_indices=(0, 1.5)),
        dict(frozen_stages='all'),
        dict(last_stage_channels=-3),
        dict(last_stage_channels=True),
        dict(norm_cfg='BN'),
        dict(norm_cfg=dict(type='NoSuch')),
        dict(drop_path_rate=1.5),
        dict(drop_path_rate='x'),
    ],
    ids=str,
)
def test_options_of_wrong_kinds_are_said(options):
    (name,) = options
    with pytest.raises(InputError, match=name):
        FANViT(**options)


def test_stages_are_lists_of_numbers():
    with pytest.raises(InputError, match=r'arch.stem_depths of FANHybrid must be a list'):
        FANHybrid(dict(HYBRID, stem_depths=3))
    with pytest.raises(InputError, match=r'arch.depths of FANSwin must be a list'):
        FANSwin(dict(FANSwin.arch_zoo['tiny'], depths=(2, 2, 0, 2)))


@pytest.mark.parametrize(
    ('backbone', 'options', 'message'),
    [
        (
            FANViT,
            dict(arch='huge'),
            "FANViT has no arch 'huge'; choose from tiny, small, base, large",
        ),
        (FANHybrid, dict(arch=VIT), 'missing: stem_depths; unknown: none'),
        (FANViT, dict(arch=HYBRID), 'missing: none; unknown: stem_depths, stem_channels, tap'),
        (FANViT, dict(arch=dict(VIT, num_heads=3)), '16 is not a multiple of num_heads 3'),
        (
            FANHybrid,
            dict(arch=dict(HYBRID, widen=dict(after=0, embed_dims=24, num_heads=5))),
            '24 is not a multiple of num_heads 5',
        ),
        (FANHybrid, dict(arch=dict(HYBRID, stem_depths=(1,))), 'differ in length'),
        (FANHybrid, dict(arch=dict(HYBRID, tap=3)), 'within its 3 blocks'),
        (
            FANHybrid,
            dict(arch=dict(WIDENED, widen=dict(WIDENED['widen'], after=2))),
            'within its 3',
        ),
        (
            FANViT,
            dict(out_type='map'),
            "must be one of featmap, cls_token, raw, avg_featmap, not 'map'",
        ),
        (FANViT, dict(channel_attention='xca'), "must be one of eca, se, csa, not 'xca'"),
        (FANViT, dict(out_indices=4), r'0\.\.3, not 4'),
        (FANViT, dict(out_indices=-5), r'0\.\.3, not -5'),
        (FANViT, dict(out_indices=(2, 1)), 'be in ascending order without repeats'),
        (FANViT, dict(out_indices=(1, 1)), 'be in ascending order without repeats'),
        (FANViT, dict(out_indices=()), r'0\.\.3, not \(\)'),
        (
            FANViT,
            dict(out_indices=2, out_type='raw'),
            "'raw' is only available after class attention",
        ),
        (FANViT, dict(frozen_stages=5), r'-1\.\.4, not 5'),
        (
            FANHybrid,
            dict(out_indices=2, last_stage_channels=8),
            'last_stage_channels needs output 3',
        ),
        (FANHybrid, dict(out_type='raw', out_norm=True), "out_norm need out_type 'featmap'"),
    ],
)
def test_mistakes_are_explained_in_one_line(backbone, options, message):
    default = VIT if backbone is FANViT else HYBRID
    with pytest.raises(InputError, match=message) as error:
        backbone(**{'arch': default, **options})
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(('backbone', 'arch'), SMALL, ids=SMALL_IDS)
def test_images_smaller_than_a_token_are_refused(backbone, arch):
    with pytest.raises(InputError, match='images of 15x64 pixels: a token is 16x16'):
        make(backbone, arch)(torch.randn(1, 3, 15, 64))
    assert make(backbone, arch).eval()(torch.randn(1, 3, 16, 16))[0].shape[2:] == (1, 1)
