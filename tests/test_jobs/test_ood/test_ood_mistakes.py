"""Folders, sizes and pictures that are wrong: one line that says which."""

import cv2
import pytest
import torch
from mmengine.config import Config
from ood_sets import A, R, pictures, wordnet
from wrapped_classifier import as_class, attempt_ood

pytest.importorskip('mmpretrain')

from libraries import needs_classes_as_types

from fan_mm.errors import InputError
from fan_mm.jobs import ood
from fan_mm.jobs.ood import FILE, evaluate_ood


@pytest.mark.parametrize(
    'names, message',
    [
        (
            wordnet(A[1:]),
            'not ImageNet-A: it has 200 class folders named by WordNet id, but there are 199',
        ),
        (['cat', *wordnet(A[1:])], "such as 'cat'"),
        (wordnet(R), 'here are 200 folders of ImageNet-R'),
    ],
)
def test_other_folders_are_refused(config, checkpoint, tmp_path, names, message):
    pictures(tmp_path / 'a', names)
    with pytest.raises(InputError, match=message):
        evaluate_ood(
            Config.fromfile(config),
            str(checkpoint),
            dict(imagenet_a=str(tmp_path / 'a')),
            tmp_path / 'work',
            clean=False,
        )


@pytest.mark.parametrize('size', [0, -1, 10**9])
def test_impossible_sizes(size, config, checkpoint, tmp_path):
    with pytest.raises(InputError, match=rf'clean: {size} pixels, but sizes must be 1 to'):
        evaluate_ood(Config.fromfile(config), str(checkpoint), {}, tmp_path, sizes=dict(clean=size))


def test_a_list_of_loaders(config, checkpoint, tmp_path):
    cfg = Config.fromfile(config)
    cfg.test_dataloader = [cfg.test_dataloader, cfg.test_dataloader]
    with pytest.raises(InputError, match='test_dataloader is a list of 2'):
        evaluate_ood(cfg, str(checkpoint), {}, tmp_path / 'work')


@needs_classes_as_types
def test_an_empty_set_and_an_unreadable_picture(config, data, tmp_path):
    (tmp_path / 'r').mkdir()
    with pytest.raises(InputError, match=r'imagenet_r: \S+ cannot be read: ') as error:
        attempt_ood(config, tmp_path, tmp_path, as_class)
    assert '\n' not in str(error.value)
    pictures(tmp_path / 'a', wordnet(A))
    damaged = next(tmp_path.glob(f'a/{wordnet(A)[150]}/*'))
    damaged.write_bytes(b'no picture')
    for workers in (0, 1):

        def change(cfg, workers=workers):
            cfg.model = dict(type='Wrapped')
            cfg.test_dataloader.num_workers = workers

        with pytest.raises(InputError, match=rf'^imagenet_a cannot load {damaged}: ') as error:
            attempt_ood(config, tmp_path, tmp_path, change, ('a',), sizes=dict(imagenet_a=64))
        assert '\n' not in str(error.value)


def test_after_a_picture_that_was_cut_short_the_same_command_goes_on(config, tmp_path, monkeypatch):
    """With the second set; the first one is kept, unless somebody has edited it."""
    pictures(tmp_path / 'a', wordnet(A), size=32)
    pictures(tmp_path / 'r', wordnet(R), size=32)
    cut = next(tmp_path.glob(f'r/{wordnet(R)[150]}/*'))
    whole = cut.read_bytes()
    evaluated = []
    accuracy = ood._accuracy
    monkeypatch.setattr(ood, '_accuracy', lambda *a: evaluated.append(a[0]) or accuracy(*a))

    def run():
        def change(cfg):
            torch.manual_seed(0)
            cfg.model = dict(type='Wrapped')
            cfg.test_dataloader.num_workers = 1

        evaluated.clear()
        sizes = dict(imagenet_a=32, imagenet_r=32)
        return attempt_ood(config, tmp_path, tmp_path, change, ('a', 'r'), sizes=sizes)

    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=f'^{cut} is truncated: get it again$'):
        run()
    assert evaluated == ['imagenet_a', 'imagenet_r']
    cut.write_bytes(whole)
    rows = run()['test_sets']
    assert evaluated == ['imagenet_r']
    assert run()['test_sets'] == rows and evaluated == []
    file = tmp_path / 'ood' / FILE
    file.write_text(file.read_text().replace('"top1": ', '"top1": 1'))
    assert run()['test_sets'] == rows and evaluated == ['imagenet_a', 'imagenet_r']
    first = next(tmp_path.glob(f'r/{wordnet(R)[0]}/*'))
    size = first.stat().st_size
    cv2.imwrite(str(first), cv2.imread(str(first))[::-1])
    assert first.stat().st_size == size
    run()
    assert evaluated == ['imagenet_r']


def test_mistakes_are_said_first(config, checkpoint, data, tmp_path):
    def attempt(message, folders, **options):
        with pytest.raises(InputError, match=message):
            evaluate_ood(
                Config.fromfile(config), str(checkpoint), folders, tmp_path / 'work', **options
            )

    attempt('no such folder: nowhere', dict(imagenet_r='nowhere'))
    attempt('the test set must be one of', dict(imagenet_x='nowhere'))
    attempt("weights must be 'ema' or 'model'", {}, weights=dict(clean='best'))
    attempt('nothing to evaluate', {}, clean=False)
    (tmp_path / 'r').mkdir()
    pictures(tmp_path / 'r', wordnet(R))
    empty = wordnet(R)[7]
    next((tmp_path / 'r' / empty).iterdir()).unlink()
    attempt(f'{empty} has no images', dict(imagenet_r=str(tmp_path / 'r')), clean=False)
    attempt('has no copy of', dict(imagenet_c=str(tmp_path / 'r')), clean=False)
