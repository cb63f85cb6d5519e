"""Segmentation labels and their images: lists of names, missing files, images that are rotated."""

import re
from pathlib import Path

import pytest
from label_folders import complaint, halves, said
from PIL import Image

pytest.importorskip('mmseg')


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


def rotated_photo(folder, orientation):
    """A dataset whose first image is displayed rotated, according to EXIF."""
    folder.write(halves(0, 1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = folder.root / 'img/val/000.png'
    Image.open(photo).save(photo, exif=exif)
    return photo


def test_photos_are_turned_and_their_labels_are_not(folder):
    rotated_photo(folder, 6)
    message = complaint(folder.config())
    assert (
        'ann/val/000.png has 64x32 pixels, its image 32x64 when rotated according to EXIF'
        in message
    )


def test_a_photo_that_stands_on_its_head_is_said(folder):
    """Its size does not tell."""
    photo = rotated_photo(folder, 3)
    message = said(folder.config())
    assert f'have an EXIF orientation, such as 3 of {photo}; the pipeline ' in message


def test_indices_leave_out_what_is_not_there(folder):
    folder.write(halves(0, 1))
    folder.labels('val')[3].unlink()
    assert said(folder.config(indices=3)) == ''
    assert 'no label file' in complaint(folder.config(indices=[0, 3]))
