"""Picture files that are cut short are found by their ends; whole ones, of whatever kind, never are."""

import io
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from fan_mm.errors import InputError
from fan_mm.picture_files import ends_as_whole, fault, refuse_cut

PICTURE = cv2.resize(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8), (300, 200))


def saved(kind='JPEG', convert=lambda picture: picture, **options):
    file = io.BytesIO()
    convert(Image.fromarray(PICTURE)).save(file, kind, **options)
    return file.getvalue()


def written(write, *content):
    file = io.BytesIO()
    write(file, *content)
    return file.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def with_thumbnail():
    thumbnail = b'Exif\0\0' + saved('JPEG', lambda picture: picture.resize((60, 40)))
    length = (len(thumbnail) + 2).to_bytes(2, 'big')
    return b'\xff\xd8\xff\xe1' + length + thumbnail + saved()[2:]


def with_restarts():
    return cv2.imencode('.jpg', PICTURE, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1].tobytes()


def deep(picture):
    return Image.fromarray(np.asarray(picture)[..., 0].astype(np.uint16) * 257)


SEVERAL = dict(save_all=True, append_images=[Image.new('RGB', (300, 200))])
TRAILING = np.random.default_rng(1).integers(0, 256, 5000, np.uint8).tobytes()  # a phone's film
WHOLE = {
    'JPEG': saved(),
    'progressive JPEG': saved(progressive=True),
    'CMYK JPEG': saved('JPEG', lambda picture: picture.convert('CMYK')),
    'grey JPEG': saved('JPEG', lambda picture: picture.convert('L')),
    'turned JPEG': saved(exif=turned()),
    'JPEG with a thumbnail': with_thumbnail(),
    'JPEG with restarts': with_restarts(),
    'JPEG and more': saved() + TRAILING,
    'JPEG and zeros': saved() + bytes(500),
    'PNG': saved('PNG'),
    'PNG of 16 bits': saved('PNG', deep),
    'PNG palette with transparency': saved(
        'PNG', lambda picture: picture.convert('P'), transparency=3
    ),
    'moving PNG': saved('PNG', **SEVERAL),
    'PNG and more': saved('PNG') + TRAILING,
    'GIF': saved('GIF'),
    'moving WebP': saved('WEBP', **SEVERAL),
    'BMP': saved('BMP'),
    'TIFF': saved('TIFF'),
}


@pytest.mark.parametrize('kind', WHOLE)
def test_whole_pictures_pass_whatever_their_name(kind, tmp_path):
    file = tmp_path / 'a.jpg'  # which the content decides
    file.write_bytes(WHOLE[kind])
    refuse_cut({'img_path': str(file), 'seg_map_path': file})
    assert fault(file) is None
    assert ends_as_whole(file) == (not kind.endswith('more') and kind != 'JPEG and zeros')


@pytest.mark.parametrize('fill', [False, True])
@pytest.mark.parametrize('kind', [kind for kind in WHOLE if 'JPEG' in kind or 'PNG' in kind])
def test_pictures_that_are_cut_short_are_found(kind, fill, tmp_path):
    """At any place, also where the room for the rest was made beforehand and stayed zeros."""
    data = WHOLE[kind]
    length = len(data) - (len(TRAILING) if 'more' in kind else 500 if 'zeros' in kind else 0)
    shares = [int(length * kept) for kept in (0.05, 0.3, 0.6, 0.9)]
    for kept in shares if fill else [*shares, length - 2, length - 1]:
        cut = data[:kept]
        (tmp_path / 'a.png').write_bytes(cut + bytes(fill * (len(data) - len(cut))))
        with pytest.raises(InputError, match=r'a\.png is truncated: get it again$'):
            refuse_cut({'seg_map_path': str(tmp_path / 'a.png')})


def test_what_is_no_file_here_is_left_to_its_reader(tmp_path):
    (tmp_path / 'no_objects.txt').touch()
    refuse_cut({'label_path': str(tmp_path / 'no_objects.txt')})
    refuse_cut(
        {'img_path': 's3://bucket/a.jpg', 'seg_map_path': None, 'img_path2': str(tmp_path), 'n': 1}
    )


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (b'', 'is empty (0 bytes): get it again'),
        (b'\n<!DOCTYPE html><p>404', 'is a web page, not an image: the download failed'),
        (
            b'version https://git-lfs.github.com/spec/v1\noid',
            'is a Git LFS pointer, not an image: run git lfs pull',
        ),
        (b'\0\0\0\x18ftypheic\0\0', 'is HEIC, which OpenCV cannot read: convert it'),
        (b'\0\0\0\x0cJXL \r\n\x87\n', 'is JPEG XL, which OpenCV cannot read: convert it'),
        (b'PK\x03\x04', 'is an archive, not an image: unpack it'),
        (b'AccessDenied', 'is not an image: get it again'),
        (bytes(4096), 'is not an image: get it again'),
        (saved('WEBP')[:900], 'is damaged (could not create decoder object): get it again'),
        (b'\x93NUMPY\x01\0v\0', None),  # read by somebody's own loader
        (written(np.savez, np.zeros(2)), None),
        (written(lambda file, labels: torch.save(labels, file), torch.zeros(2)), None),
    ],
)
def test_what_is_wrong_in_words(content, said, tmp_path):
    (tmp_path / 'a.jpg').write_bytes(content)
    assert fault(tmp_path / 'a.jpg') == said
    assert fault(tmp_path / 'b.jpg') is None


def test_pillows_own_setting_stays(tmp_path, monkeypatch):
    (tmp_path / 'a.bmp').write_bytes(saved('BMP')[:9000])
    monkeypatch.setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', True)
    assert fault(tmp_path / 'a.bmp').startswith('is damaged (image file is truncated')
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_what_a_decoder_reads_is_not_refused_for_what_follows_the_image(tmp_path):
    """A comment of megabytes, say, which Pillow refuses and OpenCV does not."""
    place = WHOLE['PNG'].index(b'IDAT') - 4
    chunk = b'zTXta\0\0' + zlib.compress(bytes(2**21))
    comment = (len(chunk) - 4).to_bytes(4, 'big') + chunk + zlib.crc32(chunk).to_bytes(4, 'big')
    content = WHOLE['PNG'][:place] + comment + WHOLE['PNG'][place:]
    for more in (b'', TRAILING):
        (tmp_path / 'a.png').write_bytes(content + more)
        refuse_cut({'img_path': str(tmp_path / 'a.png')})
