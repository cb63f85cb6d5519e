"""Segmentation labels of all kinds: what is no class index is one line, what a pipeline makes one is not."""

from types import SimpleNamespace

import numpy as np
import pytest
from label_folders import CLASSES, Folder, ReadsLabelsItself, complaint, halves, said
from PIL import Image

from fan_mm.engine.checks.labels import _Look

pytest.importorskip('mmseg')


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
