"""Segmentation labels of all kinds: what is no class index is one line, what a pipeline makes one is not."""

import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS
from PIL import Image

from fan_mm.engine import check_config
from fan_mm.engine.checks.labels import _Look
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError

pytest.importorskip('mmseg')

CLASSES = ('bg', 'fg')


@TRANSFORMS.register_module()
class ReadsLabelsItself(BaseTransform):
    """Stands for whatever makes class indices of files."""

    def transform(self, results):
        raise NotImplementedError


@TRANSFORMS.register_module()
class MapsLabels(BaseTransform):
    """Stands for whatever makes other class indices of those that were read."""

    def transform(self, results):
        raise NotImplementedError


class Folder:
    """Pictures and masks of two splits, and the config that reads them."""

    def __init__(self, root, suffix='.png', count=4):
        self.root, self.suffix, self.count = root, suffix, count
        picture = np.zeros((32, 64, 3), np.uint8)
        for split in ('train', 'val'):
            (root / 'img' / split).mkdir(parents=True)
            (root / 'ann' / split).mkdir(parents=True)
            for index in range(count):
                cv2.imwrite(str(root / f'img/{split}/{index:03}.png'), picture)

    def labels(self, split):
        return [self.root / f'ann/{split}/{i:03}{self.suffix}' for i in range(self.count)]

    def write(self, mask, splits=('train', 'val'), mode=None):
        for split in splits:
            for path in self.labels(split):
                image = Image.fromarray(mask)
                if mode == 'P':
                    image = image.convert('L')
                    image.putpalette([index * 7 % 256 for index in range(768)])
                elif mode:
                    image = image.convert(mode)
                image.save(path)

    def config(self, load=None, head=(), evaluator=(), **dataset):
        pipeline = [
            dict(type='LoadImageFromFile'),
            *(load or [dict(type='LoadAnnotations')]),
            dict(type='PackSegInputs'),
        ]
        cfg = dict(
            default_scope='mmseg',
            load_from=None,
            model=dict(
                type='EncoderDecoder',
                backbone=dict(type='ResNet'),
                decode_head=dict(type='FCNHead', num_classes=2, **dict(head)),
            ),
            val_evaluator=dict(type='IoUMetric', **dict(evaluator)),
            test_evaluator=dict(type='IoUMetric', **dict(evaluator)),
        )
        for split in ('train', 'val', 'test'):
            folder = 'train' if split == 'train' else 'val'
            data = dict(
                type='BaseSegDataset',
                data_root=str(self.root),
                data_prefix=dict(img_path=f'img/{folder}', seg_map_path=f'ann/{folder}'),
                img_suffix='.png',
                seg_map_suffix=self.suffix,
                metainfo=dict(classes=CLASSES),
                pipeline=pipeline,
            )
            cfg[f'{split}_dataloader'] = dict(batch_size=1, dataset=data | dataset)
        cfg = Config(cfg)
        register_task_library(cfg)
        return cfg


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def halves(left, right, dtype=np.uint8):
    mask = np.full((32, 64), left, dtype)
    mask[:, 32:] = right
    return mask


def said(cfg, training=True):
    """What stands in the log, without the line about random weights."""
    return ' '.join(note for note in check_config(cfg, training) if 'random weights' not in note)


def complaint(cfg, training=True):
    with pytest.raises(InputError) as error:
        check_config(cfg, training)
    assert '\n' not in str(error.value)
    return str(error.value)


GOOD = {
    '0 and 1': (halves(0, 1), None, {}),
    'palette': (halves(0, 1), 'P', {}),
    'one bit': (halves(0, 255), '1', {}),
    '16 bit': (halves(0, 1, np.uint16), None, {}),
    'two ignored': (halves(1, 255), None, dict(reduce_zero_label=False)),
    'the first is none': (np.arange(2048).reshape(32, 64) % 3, None, dict(reduce_zero_label=True)),
}


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('name', GOOD)
def test_good_labels(folder, name, training):
    mask, mode, dataset = GOOD[name]
    folder.write(mask.astype(mask.dtype if mask.dtype != int else np.uint8), mode=mode)
    if name == 'two ignored':  # another file has the other class
        Image.fromarray(halves(0, 1)).save(folder.labels('train')[1])
        Image.fromarray(halves(0, 1)).save(folder.labels('val')[1])
    assert said(folder.config(**dataset), training) == ''


def test_an_ignored_border_is_no_matter(folder):
    mask = halves(0, 1)
    mask[:2] = 255
    folder.write(mask)
    assert said(folder.config()) == ''


BAD = {
    'no class index': (
        halves(0, 7),
        None,
        {},
        'has the label 7, but labels must be class indices 0..1',
    ),
    'grey levels': (halves(0, 128), None, {}, 'has the label 128'),
    'colours': (np.dstack([halves(0, 1)] * 3), None, {}, 'is a colour image'),
    '16 bit': (
        halves(0, 256, np.uint16),
        None,
        {},
        'has the label 256, but mmseg reads 8-bit labels',
    ),
    'reduced': (halves(1, 4), None, dict(reduce_zero_label=True), 'has the label 4'),
}


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
@pytest.mark.parametrize('name', BAD)
def test_what_is_no_class_index(folder, name, split):
    mask, mode, dataset, why = BAD[name]
    folder.write(halves(1, 2) if dataset else halves(0, 1))
    folder.write(mask, ['train' if split == 'train' else 'val'], mode)
    message = complaint(folder.config(**dataset), split != 'test')
    assert message.startswith(f'{split}_dataloader.dataset: {folder.root}') and why in message


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
@pytest.mark.parametrize(
    ('mask', 'dataset', 'words'),
    [
        (
            halves(0, 255),
            {},
            "class 'fg' is in none of the 4 label files checked, which contain 0, 255",
        ),
        (halves(0, 1), dict(reduce_zero_label=True), "class 'fg' is in none"),
        (halves(0, 255), dict(reduce_zero_label=True), "classes 'bg', 'fg' are in none"),
    ],
)
def test_a_class_that_is_in_no_label_is_said(folder, split, mask, dataset, words):
    folder.write(halves(1, 2) if dataset else halves(0, 1))
    folder.write(mask, ['train' if split == 'train' else 'val'])
    note = said(folder.config(**dataset), split != 'test')
    assert note.startswith(f'{split}_dataloader.dataset: ') and words in note


def test_a_single_class_is_said(folder):
    folder.write(halves(0, 1))
    one = dict(metainfo=dict(classes=['fg']), reduce_zero_label=True)
    assert "has one class, 'fg', which all pixels have" in said(folder.config(**one))
    assert said(folder.config([dict(type='ReadsLabelsItself')], **one)) == ''


def test_more_labels_are_looked_into_before_anything_is_said(tmp_path):
    folder = Folder(tmp_path, count=30)
    folder.write(halves(0, 255))
    assert '30 label files' in said(folder.config())
    for split in ('train', 'val'):
        Image.fromarray(halves(0, 1)).save(folder.labels(split)[17])
    assert said(folder.config()) == ''


def test_a_subset_of_known_classes(folder):
    """mmseg maps the labels of its own datasets to a choice of their classes."""
    folder.write(halves(0, 18))
    cfg = folder.config(type='CityscapesDataset', metainfo=dict(classes=('road', 'bicycle')))
    assert said(cfg) == ''
    folder.write(halves(0, 33))
    assert 'has the label 33' in complaint(cfg)


@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize(
    'load',
    [
        [dict(type='ReadsLabelsItself')],
        [dict(type=ReadsLabelsItself)],
        [dict(type='LoadAnnotations'), dict(type='MapsLabels')],
        [dict(type='RandomApply', transforms=[dict(type='ReadsLabelsItself')], prob=1.0)],
    ],
)
def test_transforms_of_ones_own_are_trusted(folder, load, training):
    folder.write(halves(0, 77))
    assert said(folder.config(load), training) == ''


def test_labels_that_nothing_reads_need_not_be_there(folder):
    cfg = folder.config([dict(type='RandomFlip', prob=0.0)])
    assert said(cfg, training=False) == ''
    assert said(folder.config([dict(type='ReadsLabelsItself')]), training=False) == ''
    assert 'no label file' in complaint(folder.config(), training=False)


@pytest.mark.parametrize(
    'load',
    [dict(type='LoadAnnotations'), dict(type='mmseg.LoadAnnotations'), 'class', 'MapsLabels'],
)
@pytest.mark.parametrize('size', [0, 60])
@pytest.mark.parametrize('training', [True, False])
def test_unreadable_labels(folder, load, size, training):
    from mmseg.datasets.transforms import LoadAnnotations

    load = {
        'class': [dict(type=LoadAnnotations)],
        'MapsLabels': [dict(type='LoadAnnotations'), dict(type='MapsLabels')],
    }.get(load if isinstance(load, str) else '', [load])
    folder.write(halves(0, 1))
    path = folder.labels('val')[0]
    path.write_bytes(path.read_bytes()[:size])
    message = complaint(folder.config(load), training)
    assert f'the label file {path} ' in message
    assert ('is empty' if not size else 'cannot be read') in message


def test_an_empty_picture(folder):
    folder.write(halves(0, 1))
    (folder.root / 'img/val/000.png').write_bytes(b'')
    assert 'img/val/000.png is empty (0 bytes)' in complaint(folder.config())


def test_labels_of_another_size(folder):
    folder.write(halves(0, 1)[:, 16:48])
    assert 'has 32x32 pixels, its image 64x32' in complaint(folder.config(), training=False)
    folder.write(halves(0, 1), ['val'])
    assert 'train_dataloader.dataset: ' in said(
        folder.config()
    )  # its crops may be resized to one size


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
def test_labels_that_were_compressed_whatever_their_name(tmp_path, suffix, kind):
    folder = Folder(tmp_path, suffix=suffix)
    for mask, words in (
        (halves(0, 1), 'whose compression changes class indices'),
        (halves(0, 99), 'its lossy compression changes them'),
    ):
        for path in (*folder.labels('train'), *folder.labels('val')):
            Image.fromarray(mask).save(path, kind)
        found = said(folder.config()) if mask.max() == 1 else complaint(folder.config())
        assert (words in found) == (kind == 'JPEG')


def test_a_value_that_a_head_or_a_metric_leaves_out(folder):
    folder.write(halves(1, 255))
    Image.fromarray(halves(0, 1)).save(folder.labels('train')[1])
    Image.fromarray(halves(0, 1)).save(folder.labels('val')[1])
    message = complaint(folder.config(head=dict(ignore_index=100)))
    assert 'the label 255, which model.decode_head.ignore_index=100 does not ignore' in message
    message = complaint(folder.config(evaluator=dict(ignore_index=0)))
    assert 'val_evaluator.ignore_index=0 does not ignore' in message
    mask = halves(0, 1)
    mask[:2] = 99
    folder.write(mask)
    assert said(folder.config(head=dict(ignore_index=99), evaluator=dict(ignore_index=99))) == ''


def test_a_value_that_only_the_dataset_leaves_out(folder):
    """mmseg 0.x asked the dataset; now heads and metrics decide, and leave out 255."""
    mask = halves(0, 1)
    mask[:2] = 99
    folder.write(mask)
    cfg = folder.config(ignore_index=99)
    for training, reader in ((True, 'model.decode_head'), (False, 'test_evaluator')):
        assert f'99, which {reader}.ignore_index=255 does not ignore: set it to 99' in complaint(
            cfg, training
        )
    folder.write(halves(0, 1))
    note = said(folder.config(ignore_index=0), training=False)
    assert note == (
        "test_dataloader.dataset.ignore_index=0 alone has no effect, and class 'bg' counts: set "
        'ignore_index=0 of test_evaluator, too'
    )
    assert said(folder.config(ignore_index=0, evaluator=dict(ignore_index=0)), False) == ''


class CutsOff(TRANSFORMS.get('Pad')):
    """Tells the model what to cut off."""

    def transform(self, results):
        return super().transform(results) | dict(padding_size=[0, 64, 0, 32])


@pytest.mark.parametrize(
    ('before', 'pad', 'words'),
    [
        ([], dict(size=(128, 64)), 'Pad makes 128x64 pixels of 64x32, and mmseg stretches'),
        ([], dict(size_divisor=48), 'Pad makes 96x48 pixels of 64x32'),
        ([], dict(size_divisor=32), ''),
        ([], dict(type='CenterCrop', crop_size=16), 'CenterCrop makes 16x16 pixels of 64x32'),
        ([], dict(type='CenterCrop', crop_size=(64, 32)), ''),
        ([dict(type='Resize', scale=(40, 20))], dict(size_divisor=32), '64x32 pixels of 40x20'),
        ([], dict(type=CutsOff, size=(128, 64)), ''),
        (
            [dict(type='ReadsLabelsItself')],
            dict(size=(128, 64)),
            '',
        ),  # fails, as the trial will say
    ],
)
def test_what_is_stretched_in_the_prediction_is_said(folder, before, pad, words):
    folder.write(halves(0, 1))
    load = [*before, dict(dict(type='Pad'), **pad), dict(type='LoadAnnotations')]
    cfg = folder.config(load)
    note = said(cfg, training=False)
    assert note.startswith('test_dataloader.dataset.pipeline: ') == bool(words) and words in note
    assert 'train_dataloader' not in said(cfg)
    cfg.model.type = OwnSegmentor
    assert said(cfg, training=False) == ''


class OwnSegmentor(MODELS.get('mmseg.EncoderDecoder')):
    def postprocess_result(self, seg_logits, data_samples=None):
        raise NotImplementedError


@pytest.mark.parametrize('lines', ['000\n001\n', '001'])
def test_lists_of_names(folder, lines):
    folder.write(halves(0, 1))
    (folder.root / 'list.txt').write_text(lines)
    assert said(folder.config(ann_file='list.txt')) == ''
    (folder.root / 'list.txt').write_text(lines + '\nabsent')
    assert 'no image' in complaint(folder.config(ann_file='list.txt'))
    (folder.root / 'list.txt').write_text('')
    assert 'list.txt is empty' in complaint(folder.config(ann_file='list.txt'))


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (
            '\ufeff000\n001',
            r'\\ufeff000\.png; a line of .*list\.txt is a name between .*img/.*/ and',
        ),
        ('000\t1\n', r'000\\t1\.png; a line of'),
        ('000.png\n', r'000\.png\.png; a line of .* and \'\.png\''),
        ('000\n\n', r'/\.png; a line of'),
        ('000\n'.encode('utf-16'), r'list\.txt is not text in UTF-8$'),
    ],
)
def test_what_a_list_means_is_said(folder, text, words):
    folder.write(halves(0, 1))
    (folder.root / 'list.txt').write_bytes(text if isinstance(text, bytes) else text.encode())
    message = complaint(folder.config(ann_file='list.txt'))
    assert re.search(words, message), message
    assert 'trainIds' not in message


def test_pictures_that_an_evaluation_takes_twice(folder):
    folder.write(halves(0, 1))
    (folder.root / 'list.txt').write_text('000\n001\n000\n')
    message = said(folder.config(ann_file='list.txt'))
    assert 'val_dataloader.dataset: ' in message and 'train_dataloader' not in message
    assert '1 images listed more than once' in message


def upper(path):
    path.rename(path.with_suffix('.PNG'))


def to_nothing(path):
    path.unlink()
    path.symlink_to('nowhere')


@pytest.mark.parametrize('lose', [upper, to_nothing, Path.unlink])
def test_labels_whose_pictures_are_left_out(folder, lose):
    folder.write(halves(0, 1))
    assert said(folder.config()) == ''
    lose(folder.root / 'img/val/002.png')
    message = said(folder.config())
    assert 'train_dataloader' not in message
    assert re.search(r'1 of 4 label files have no image \*\.png .*ann/val/002\.png', message)
    (folder.root / 'list.txt').write_text('000\n001')
    for options in (dict(ann_file='list.txt'), dict(indices=2)):  # parts that are meant
        assert said(folder.config(**options)) == ''


OF_VOC = [[128, 0, 0], [0, 128, 0]]  # of values 1 and 2 in labelme's pictures


@pytest.mark.parametrize(
    ('colours', 'options', 'exchanged'),
    [
        ([0, 0, 0, 255, 0, 0], {}, False),
        ([255, 0, 0, 0, 0, 0], {}, True),  # the commoner colour first, as quantised
        ([9, 9, 9, 8, 8, 8], {}, False),  # colours of no class say nothing
        ([255, 0, 0, 0, 0, 0], dict(metainfo=dict(classes=CLASSES)), False),
        ([255, 0, 0, 0, 0, 0], dict(load=[dict(type='ReadsLabelsItself')]), False),
        ([0, 0, 0, 128, 0, 0], dict(metainfo=dict(classes=CLASSES, palette=OF_VOC)), False),
    ],
)
def test_values_in_the_colours_of_other_classes(folder, colours, options, exchanged):
    for path in [*folder.labels('train'), *folder.labels('val')]:
        image = Image.fromarray(halves(0, 1)).convert('P')
        image.putpalette(colours + [0] * (768 - len(colours)))
        image.save(path)
    meta = dict(classes=CLASSES, palette=[[0, 0, 0], [255, 0, 0]])
    message = said(folder.config(**dict(dict(metainfo=meta), **options)))
    line = "draws the value 0 in the colour of 'fg', but it is read as 'bg': values must be class"
    assert (line in message) == exchanged, message


def test_photos_are_turned_and_their_labels_are_not(folder):
    folder.write(halves(0, 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = folder.root / 'img/val/000.png'
    Image.open(photo).save(photo, exif=exif)
    message = complaint(folder.config())
    assert (
        'ann/val/000.png has 64x32 pixels, its image 32x64 when rotated according to EXIF'
        in message
    )


def test_a_photo_that_stands_on_its_head_is_said(folder):
    """Its size does not tell."""
    folder.write(halves(0, 1))
    exif = Image.Exif()
    exif[0x0112] = 3
    photo = folder.root / 'img/val/000.png'
    Image.open(photo).save(photo, exif=exif)
    message = said(folder.config())
    assert f'have an EXIF orientation, such as 3 of {photo}; the pipeline ' in message


def test_indices_leave_out_what_is_not_there(folder):
    folder.write(halves(0, 1))
    folder.labels('val')[3].unlink()
    assert said(folder.config(indices=3)) == ''
    assert 'no label file' in complaint(folder.config(indices=[0, 3]))


@pytest.mark.parametrize(
    ('seen', 'panoptic', 'said'),
    [
        ({'a.png': 33}, (), 'a.png and others are labelIds'),
        ({'a.png': 5, 'b.png': 33}, (), 'a.png and others are labelIds'),
        ({'a.png': 33, 'b.png': 33}, ('a.png',), 'b.png and others are labelIds'),
        ({'a.png': 33}, ('a.png',), None),  # ids of segments are no classes
        ({'a.png': 5}, (), None),
    ],
)
def test_labels_of_another_encoding_are_named_by_the_first(seen, panoptic, said):
    look = object.__new__(_Look)
    look.seen = {path: (np.array([value]), np.array([0])) for path, value in seen.items()}
    look.panoptic, look.sample = set(panoptic), {}
    look.dataset = SimpleNamespace(doubt=lambda values, _: 'are labelIds' if 33 in values else None)
    assert look._doubt() == said
