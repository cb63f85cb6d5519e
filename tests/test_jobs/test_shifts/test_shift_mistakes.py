"""Real adverse conditions: wrong files, options, models and commands are refused before the first evaluation."""

import runpy
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from shift_runs import evaluate

pytest.importorskip('mmseg')

from stripe_model import StripeModel

from fan_mm.errors import InputError
from fan_mm.jobs.shifts import evaluation

ROOT = Path(__file__).resolve().parents[3]


def wrong_labels(root):
    """Snow's labels hold labelIds under the name of trainIds."""
    for path in sorted((root / 'acdc/gt/snow').rglob('*.png')):
        label = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(path), np.where(label == 255, 0, label + 7).astype(np.uint8))


def one_wrong_label(root):
    """A single file of nine, not the first."""
    for path in [
        p for kind in ('gt', 'rgb_anon') for p in (root / f'acdc/{kind}/snow').rglob('*.png')
    ]:
        for more in ('frame_1', 'frame_2'):
            shutil.copy(path, path.with_name(path.name.replace('frame_0', more)))
    path = sorted((root / 'acdc/gt/snow').rglob('*.png'))[1]
    label = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    label[:2] = 33
    cv2.imwrite(str(path), label)


def broken_picture(root):
    path = sorted((root / 'acdc/rgb_anon/snow/val').rglob('*.png'))[0]
    path.write_bytes(path.read_bytes()[:100])


def only_training_pictures(root):
    (root / 'dark/rgb_anon/val').rename(root / 'dark/rgb_anon/train')


@pytest.mark.parametrize(
    ('harm', 'options', 'message'),
    [
        (wrong_labels, {}, r'ACDC snow: .* has the label \d+'),
        (one_wrong_label, {}, r'ACDC snow: .* has the label 33'),
        (broken_picture, {}, r'ACDC.*snow.*_rgb_anon\.png'),
        (None, {'sets': ('dark_zurich', 'acdc'), 'splits': {'acdc': 'nonsense'}}, 'nonsense'),
        (
            None,
            {'submission': 'to'},
            r'^--submission: the labels of all splits are here; .*acdc=test$',
        ),
        (None, {'splits': {'acdc': 'test'}}, r'withheld: --submission DIR .*--split acdc=val'),
        (
            only_training_pictures,
            {'sets': ('dark_zurich',), 'splits': {'dark_zurich': 'train'}},
            r'^Dark Zurich train has no labels here, and no server is known .*=val has labels$',
        ),
        (None, {'splits': {'muses': 'val'}}, '--split muses=val: give --muses DIR, too'),
        (None, {'sets': ('coco_o',)}, 'COCO-O is for detectors, but the config is for segmenters'),
        (None, {'sets': ()}, 'nothing to evaluate: give a dataset, such as --acdc DIR'),
        (None, {'max_samples': 0}, 'max_samples must be at least 1'),
        (
            None,
            {'change': lambda cfg: cfg.test_dataloader.dataset.update(data_root='/no/such')},
            'there is no test_dataloader.dataset.data_root /no/such: give --cityscapes DIR, or --no-clean',
        ),
        (
            None,
            {'change': lambda cfg: cfg.model.update(decode_head=dict(num_classes=11))},
            r'needs a model of its 19 classes \(road, sidewalk, building, ...\), but this one has 11',
        ),
    ],
)
def test_mistakes_are_one_line_before_the_first_evaluation(
    harm, options, message, data, tmp_path, monkeypatch
):
    """Also those of the last condition of the last set."""
    root = data
    if harm:
        root = tmp_path / 'data'
        shutil.copytree(data, root)
        harm(root)
    monkeypatch.setattr(evaluation, '_run', lambda *_: pytest.fail('evaluated'))
    options.setdefault('sets', ('dark_zurich', 'acdc'))
    with pytest.raises(InputError, match=message) as error:
        evaluate(root, tmp_path / 'out', **options)
    assert '\n' not in str(error.value)


def test_images_of_several_sizes_in_the_last_condition(data, tmp_path, monkeypatch):
    root = shutil.copytree(data, tmp_path / 'data')
    for folder in ('rgb_anon', 'gt'):
        path = sorted((root / 'acdc' / folder / 'snow/val').rglob('*.png'))[1]
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), image[:, ::2])
    forward = StripeModel.forward

    def of_one_size(self, inputs, *args, **kwargs):
        torch.stack(list(inputs))
        return forward(self, inputs, *args, **kwargs)

    monkeypatch.setattr(StripeModel, 'forward', of_one_size)
    monkeypatch.setattr(evaluation, '_run', lambda *_: pytest.fail('evaluated'))
    with pytest.raises(InputError, match=r'ACDC.* snow.* on a batch of images of several sizes'):
        evaluate(
            *(root, tmp_path / 'out', ('acdc',)),
            change=lambda cfg: cfg.test_dataloader.update(batch_size=2),
        )


def test_classes_by_their_names(data, tmp_path):
    content = torch.load(data / 'weights.pth', weights_only=True)
    classes = [f'class {i}' for i in range(19)]
    content['meta'] = {'dataset_meta': {'classes': classes}}
    torch.save(content, tmp_path / 'others.pth')
    with pytest.raises(InputError, match="class 0 is 'road' there, but 'class 0' in this model"):
        evaluate(data, tmp_path / 'out', checkpoint=tmp_path / 'others.pth')


def test_the_command_passes_everything_on(monkeypatch, tmp_path, capsys):
    """And says what is withheld, submitted or failed."""
    given = {}

    def pretended(cfg, checkpoint, folders, work_dir, launcher, **options):
        given.update(options, folders=folders, checkpoint=checkpoint)
        return {
            'submissions': [{'set': 'ACDC test', 'files': 8, 'zip': 'a.zip', 'remarks': ['few']}]
        }

    (tmp_path / 'c.py').write_text("default_scope = 'mmseg'\nmodel = dict(type='EncoderDecoder')\n")
    monkeypatch.setattr(evaluation, 'evaluate_shifts', pretended)
    command = ['test_ood.py', str(tmp_path / 'c.py'), 'w.pth', '--acdc', 'a', '--cityscapes', 'c']
    command += ['--split', 'acdc=test', 'cityscapes=test', '--submission', 's', '--no-clean']
    monkeypatch.setattr('sys.argv', command)
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / 'tools/test_ood.py'), run_name='__main__')
    assert not stop.value.code
    assert given['folders'] == {'acdc': 'a', 'cityscapes': 'c'}
    assert given['splits'] == {'acdc': 'test', 'cityscapes': 'test'}
    assert (given['submission'], given['clean'], given['max_samples']) == ('s', False, None)
    assert 'ACDC test: 8 files in a.zip\n  few' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (
            ['--acdc', 'a', '--imagenet-a', 'b'],
            'the ImageNet test sets are for classifiers, the others',
        ),
        (['--acdc', 'a', '--size', 'clean=3'], '--size is for ImageNet classifiers'),
        (['--acdc', 'a', '--split', 'val'], 'write NAME=VALUE'),
        (['--max-samples', '0', '--acdc', 'a'], "'0' is not a whole number of at least 1"),
    ],
)
def test_wrong_commands(words, message, monkeypatch, tmp_path, capsys):
    (tmp_path / 'c.py').write_text("default_scope = 'mmseg'\nmodel = dict(type='EncoderDecoder')\n")
    monkeypatch.setattr('sys.argv', ['test_ood.py', str(tmp_path / 'c.py'), 'w.pth', *words])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / 'tools/test_ood.py'), run_name='__main__')
    assert stop.value.code == 2 and message in capsys.readouterr().err
