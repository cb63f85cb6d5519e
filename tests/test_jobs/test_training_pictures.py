"""The pictures that a temperature is fitted on: of the training split, read as those of the test."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

pytest.importorskip('mmseg')

import mmseg.datasets
import mmseg.evaluation  # noqa: F401  (registration)

from fan_mm.errors import InputError
from fan_mm.jobs.robustness import evaluate_robustness, summary_text
from fan_mm.jobs.training_pictures import training_pictures


def part(root, split='train', **changes):
    cfg = dict(
        type='CityscapesDataset',
        data_root=str(root),
        data_prefix=dict(img_path=f'leftImg8bit/{split}', seg_map_path=f'gtFine/{split}'),
        pipeline=[dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=1.0)],
    )
    return cfg | changes


@pytest.fixture
def cfg(stripe_config):
    init_default_scope('mmseg')
    return Config.fromfile(stripe_config, import_custom_modules=False)


@pytest.mark.parametrize(
    'wrap',
    [
        lambda root: part(root),
        lambda root: dict(type='RepeatDataset', times=9, dataset=part(root)),
        lambda root: dict(type='ConcatDataset', datasets=[part(root, 'val'), part(root)]),
        lambda root: dict(
            type='MultiImageMixDataset', dataset=part(root), pipeline=[dict(type='RandomMosaic')]
        ),
    ],
    ids=['plain', 'repeated', 'two', 'mixed'],
)
def test_without_what_wraps_them_and_their_own_pipelines(cfg, tiny_cityscapes, wrap):
    cfg.train_dataloader = dict(dataset=wrap(tiny_cityscapes))
    pictures = training_pictures(cfg, 4)
    names = [pictures[i]['data_samples'].img_path for i in range(len(pictures))]
    assert len(set(names)) == 4 and any('/train/' in name for name in names)
    sample = pictures[3]['data_samples']
    assert not sample.get('flip') and sample.gt_sem_seg.shape == (64, 128)
    assert len(training_pictures(cfg, 2)) == 2
    everything = training_pictures(cfg, 999)
    assert list(everything.indices) == list(range(len(everything.dataset))) and len(everything) <= 7
    assert max(pictures.indices) > len(everything) / 2  # over the whole split


def test_another_loader_may_say_how_they_are_read(cfg, tiny_cityscapes):
    cfg.train_dataloader = dict(dataset=part(tiny_cityscapes))
    steps = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 16))]
    other = part('unread', pipeline=[*steps, dict(type='PackSegInputs')])
    sample = training_pictures(cfg, 1, dict(dataset=other))[0]
    assert sample['inputs'].shape == (3, 16, 32) and 'gt_sem_seg' not in sample['data_samples']


@pytest.mark.parametrize(
    ('changes', 'line'),
    [
        (dict(train_dataloader=None), 'no train_dataloader'),
        (dict(train_dataloader=dict(dataset=part('nowhere'))), 'training split cannot be read'),
        (dict(train_dataloader=dict(dataset=dict(type='Unknown'))), 'training split cannot be'),
        (
            dict(test_dataloader=dict(dataset=part('x', pipeline=None))),
            'has no pipeline to read images',
        ),
    ],
)
def test_what_cannot_be_fitted_on_is_one_line(cfg, tiny_cityscapes, changes, line):
    cfg.train_dataloader = dict(dataset=part(tiny_cityscapes))
    for name, value in changes.items():
        cfg[name] = value
    with pytest.raises(InputError, match=f'--fit-temperature: .*{line}|{line}') as error:
        training_pictures(cfg, 4)
    assert '\n' not in str(error.value)


def test_the_command(cfg, tiny_cityscapes, stripe_checkpoint, tmp_path):
    cfg.custom_imports = None
    cfg.model = dict(type='SoftStripes', sharpness=0.5)  # a little too sharp
    cfg.train_dataloader = dict(dataset=part(tiny_cityscapes), batch_size=1, num_workers=0)
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=1)
    cfg.optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
    options = dict(corruptions=['fog'], severities=[3], fit_temperature=3)
    results = evaluate_robustness(cfg, str(stripe_checkpoint), tmp_path / 'out', **options)
    temperature = results['calibration']['temperature']
    assert temperature['pictures'] == 3 and temperature['samples'] == 3 * 60 * 128
    assert temperature['value'] > 1
    assert f'temperature             {temperature["value"]:.4f}' in summary_text(results)
    for name in ('reliability', 'reliability_scaled', 'ece_curves', 'ece_curves_scaled'):
        assert (tmp_path / 'out' / 'figures' / f'{name}.pdf').is_file()


@pytest.mark.parametrize('kind', ['leftImg8bit', 'gtFine'])
def test_a_file_that_is_cut_short_is_not_fitted_on(cfg, tiny_cityscapes, monkeypatch, kind):
    """Whatever a decoder makes of it."""
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: np.full((64, 128, 3), 128, np.uint8))
    cfg.train_dataloader = dict(dataset=part(tiny_cityscapes))
    pictures = training_pictures(cfg, 99)
    pictures[0]
    file = sorted(tiny_cityscapes.glob(f'{kind}/train/town/*.png'))[0]
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(InputError, match=f'{file.name} is truncated: get it again'):
        pictures[0]
