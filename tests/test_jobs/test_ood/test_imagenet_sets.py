"""What is wrong with a folder of images, or with the part of the config that reads it, is told apart."""

import pytest
from ood_sets import pictures

pytest.importorskip('mmpretrain')

from mmengine.config import Config
from mmengine.runner import Runner

from fan_mm.errors import InputError
from fan_mm.jobs.imagenet_sets import build_loader, loader_config


def loader_of(folder, *transforms, sampler='DefaultSampler'):
    """The config of a loader as `evaluate_ood` makes it of a config's own."""
    dataset = dict(type='CustomDataset', pipeline=[dict(type='LoadImageFromFile'), *transforms])
    loader = dict(batch_size=1, num_workers=0, sampler=dict(type=sampler), dataset=dataset)
    cfg = Config(dict(test_dataloader=loader))
    return loader_config(cfg, 'imagenet_r', str(folder), None)


@pytest.mark.parametrize(
    ('folders', 'transforms', 'options', 'line'),
    [
        ([], (), {}, r'imagenet_r: \S+ cannot be read: Found 0 files in subfolders of: .*'),
        (
            ['n01440764'],
            (dict(type='Nonsense'),),
            {},
            r'imagenet_r: test_dataloader\.dataset\.pipeline\.1 \(Nonsense\): .* registry\.',
        ),
        (
            ['n01440764'],
            (),
            dict(sampler='Nonsense'),
            r'imagenet_r: test_dataloader\.sampler \(Nonsense\): .* registry\.',
        ),
    ],
)
def test_faults_are_told_apart(folders, transforms, options, line, tmp_path):
    pictures(tmp_path, folders)
    with pytest.raises(InputError, match=f'^{line}$'):
        build_loader('imagenet_r', loader_of(tmp_path, *transforms, **options), 'mmpretrain')


def test_a_bug_of_ours_keeps_its_traceback(tmp_path, monkeypatch):
    monkeypatch.setattr(Runner, 'build_dataloader', lambda *_: None.no_such)
    with pytest.raises(AttributeError):
        build_loader('imagenet_r', loader_of(tmp_path), 'mmpretrain')
