"""Copies of another size, or turned otherwise, than their originals as the dataset's loader reads them."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS
from PIL import Image

from fan_mm.datasets.corrupted.images import read_image
from fan_mm.errors import InputError
from fan_mm.evaluation.cells import Cell
from fan_mm.evaluation.loading.fitting import check_fit
from fan_mm.evaluation.premade import PremadeImages

CELLS = [Cell('fog', 1), Cell('snow', 3)]
ORIENTATION = 0x0112


class PackInputs:
    """Told by its name: a classification pipeline."""


class CenterCrop:
    """Told by its name: a pipeline that crops."""


class Dataset:
    """As much of a dataset as is looked at: a pipeline that starts with a loader of these options."""

    def __init__(self, *rest, **loader):
        self.pipeline = Compose([LoadImageFromFile(**loader)])
        self.pipeline.transforms += rest


def scene(shape=(60, 90)):
    """No turn or flip of it looks like itself."""
    small = np.zeros((4, 6, 3), np.uint8)
    small[0, :3], small[1:, 0], small[2, 4] = (250, 90, 30), (30, 200, 60), (90, 60, 220)
    return cv2.resize(small, shape[::-1], interpolation=cv2.INTER_LINEAR)


def write_clean(folder, orientation=1, suffix='.jpg', shape=(60, 90), count=3):
    folder.mkdir(parents=True)
    exif = Image.Exif()
    if orientation > 1:
        exif[ORIENTATION] = orientation
    for i in range(count):
        Image.fromarray(scene(shape)).save(folder / f'{i}{suffix}', exif=exif)
    return [str(folder / f'{i}{suffix}') for i in range(count)]


def write_copies(root, clean, read, change=lambda image: image, noise=40):
    rng = np.random.default_rng(0)
    for cell in CELLS:
        for path in clean:
            image = change(read(path)).astype(int)
            image = image + rng.normal(0, noise, image.shape)
            target = root / f'{cell.corruption}_{cell.severity}' / (path.rpartition('/')[2])
            target = target.with_suffix('.png')
            target.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target), image.clip(0, 255).astype(np.uint8))


def applied(path):
    return read_image(Path(path))


def ignored(path):
    return cv2.imread(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)


def check(root, clean, dataset):
    check_fit(PremadeImages.find(root, CELLS, clean), CELLS, clean, dataset)


LOADERS = {
    'default': (dict(), True),
    'grey': (dict(color_type='grayscale'), True),
    'ignoring': (dict(color_type='color_ignore_orientation'), False),
    'pillow': (dict(imdecode_backend='pillow'), True),
    'pillow ignoring': (
        dict(imdecode_backend='pillow', color_type='color_ignore_orientation'),
        False,
    ),
    'unchanged': (dict(color_type='unchanged'), False),
}


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('loader', LOADERS)
def test_copies_are_turned_as_the_loader_turns_their_originals(tmp_path, loader, orientation):
    options, applies = LOADERS[loader]
    clean = write_clean(tmp_path / 'clean', orientation)
    for read, turned in ((applied, True), (ignored, False)):
        root = tmp_path / read.__name__
        write_copies(root, clean, read)
        if orientation == 1 or turned == applies:
            check(root, clean, Dataset(**options))
        else:
            with pytest.raises(InputError, match=f'EXIF orientation {orientation}'):
                check(root, clean, Dataset(**options))


@pytest.mark.parametrize('orientation', range(2, 9))
@pytest.mark.parametrize(
    ('read', 'options'), [(ignored, LOADERS['default'][0]), (applied, LOADERS['ignoring'][0])]
)
def test_sizes_of_squares_tell_no_turn(tmp_path, read, options, orientation):
    clean = write_clean(tmp_path / 'clean', orientation, shape=(64, 64))
    write_copies(tmp_path / 'copies', clean, read)
    with pytest.raises(InputError, match=f'another orientation .* orientation {orientation}'):
        check(tmp_path / 'copies', clean, Dataset(**options))


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.tif', '.webp', '.bmp', '.gif'])
@pytest.mark.parametrize('shape', [(60, 90), (64, 64)])
def test_the_generators_reader_fits_the_default_loader_whatever_the_format(tmp_path, suffix, shape):
    clean = write_clean(tmp_path / 'clean', 6, suffix, shape)
    write_copies(tmp_path / 'copies', clean, applied)
    check(tmp_path / 'copies', clean, Dataset())


CHANGES = {
    'half': lambda image: cv2.resize(image, None, fx=0.5, fy=0.5),
    'transposed': lambda image: image.transpose(1, 0, 2),
    'a row less': lambda image: image[1:],
}


@pytest.mark.parametrize('orientation', [1, 4, 6])
@pytest.mark.parametrize('change', CHANGES)
def test_copies_of_another_size(tmp_path, change, orientation):
    """Only an orientation that lays the image on its side is named as the reason."""
    clean = write_clean(tmp_path / 'clean', orientation)
    write_copies(tmp_path / 'copies', clean, applied, CHANGES[change])
    is_turned = change == 'transposed' and orientation == 6
    said = 'EXIF orientation 6' if is_turned else 'copies must have the size of their originals'
    with pytest.raises(InputError, match=said):
        check(tmp_path / 'copies', clean, Dataset())


def test_one_other_size_among_many(tmp_path):
    clean = write_clean(tmp_path / 'clean', count=40)
    write_copies(tmp_path / 'copies', clean, applied)
    Image.new('RGB', (90, 61)).save(tmp_path / 'copies/snow_3/17.png')
    with pytest.raises(InputError, match=r'snow_3/17.png has 90x61 pixels'):
        check(tmp_path / 'copies', clean, Dataset())


@pytest.mark.parametrize('content', [b'', b'no picture', b'\x89PNG\r\n\x1a\n'])
def test_a_copy_that_is_no_picture(tmp_path, content):
    clean = write_clean(tmp_path / 'clean')
    write_copies(tmp_path / 'copies', clean, applied)
    (tmp_path / 'copies/fog_1/0.png').write_bytes(content)
    with pytest.raises(InputError, match=r'fog_1/0.png is empty, damaged or not an image'):
        check(tmp_path / 'copies', clean, Dataset())


def test_crops_of_a_classifier_need_one_size_among_themselves(tmp_path):
    clean = write_clean(tmp_path / 'clean')
    crop = CenterCrop(), PackInputs()
    write_copies(tmp_path / 'crops', clean, applied, lambda image: image[:32, :32])
    check(tmp_path / 'crops', clean, Dataset(*crop))
    check(tmp_path / 'crops', clean, Dataset(PackInputs()))
    Image.new('RGB', (40, 32)).save(tmp_path / 'crops/snow_3/1.png')
    for rest in (crop, crop[1:]):
        with pytest.raises(InputError, match='crops of one size'):
            check(tmp_path / 'crops', clean, Dataset(*rest))
    with pytest.raises(InputError, match='size of their originals'):
        check(tmp_path / 'crops', clean, Dataset())


def test_pictures_of_several_sizes_that_fit_suit_a_classifier_that_does_not_crop(tmp_path):
    clean = write_clean(tmp_path / 'clean')
    Image.new('RGB', (50, 40)).save(clean[1])
    write_copies(tmp_path / 'copies', clean, applied)
    check(tmp_path / 'copies', clean, Dataset(PackInputs()))
    check(tmp_path / 'copies', clean, Dataset())
    with pytest.raises(InputError, match='crops of one size'):
        check(tmp_path / 'copies', clean, Dataset(CenterCrop(), PackInputs()))


def test_pipelines_inside_wrappers(tmp_path):
    clean = write_clean(tmp_path / 'clean', 6)
    write_copies(tmp_path / 'copies', clean, applied)
    inside = Dataset(color_type='color_ignore_orientation')
    wrapped = type('Wrapper', (), dict(dataset=type('Concat', (), dict(datasets=[inside]))()))()
    with pytest.raises(InputError, match='EXIF orientation 6'):
        check(tmp_path / 'copies', clean, wrapped)


@pytest.mark.parametrize('stored', [(60, 90, 3), (60, 90), (90, 60, 3)])
def test_originals_that_only_the_loader_knows(tmp_path, stored):
    class LoadArray(LoadImageFromFile):
        """Told by its name: a loader."""

        def transform(self, results):
            if not results['img_path'].endswith('.npy'):
                return super().transform(results)
            results['img'] = np.load(results['img_path'])
            return results

    picture = tmp_path / 'clean/0.npy'
    picture.parent.mkdir()
    np.save(picture, np.zeros(stored, np.uint8))
    write_copies(tmp_path / 'copies', [str(picture)], lambda _: scene())
    dataset = Dataset()
    dataset.pipeline.transforms[0] = LoadArray()
    if stored[:2] == (60, 90):
        check(tmp_path / 'copies', [str(picture)], dataset)
    else:
        with pytest.raises(InputError, match=r'90x60 pixels and .*0\.npy 60x90'):
            check(tmp_path / 'copies', [str(picture)], dataset)


def test_originals_in_a_store_are_not_measured(tmp_path):
    clean = ['s3://bucket/clean/0.jpg']
    write_copies(tmp_path / 'copies', clean, lambda _: scene())
    check(tmp_path / 'copies', clean, Dataset())


def test_somebodys_own_loader_decides(tmp_path):
    @TRANSFORMS.register_module(name='LoadImageUpsideDown', force=True)
    class LoadImageUpsideDown:
        def __call__(self, results):
            results['img'] = ignored(results['img_path'])
            return results

    clean = write_clean(tmp_path / 'clean', 8)
    dataset = Dataset()
    dataset.pipeline.transforms[0] = LoadImageUpsideDown()
    write_copies(tmp_path / 'ignored', clean, ignored)
    check(tmp_path / 'ignored', clean, dataset)
    write_copies(tmp_path / 'applied', clean, applied)
    with pytest.raises(InputError, match='EXIF orientation 8'):
        check(tmp_path / 'applied', clean, dataset)


def grey(image):
    return np.repeat(image.mean(-1, keepdims=True), 3, axis=-1)


@pytest.mark.parametrize(
    ('change', 'swapped'),
    [
        (lambda image: image[..., ::-1], True),
        (lambda image: image, False),
        (grey, False),
        (lambda image: 0.5 * image + [100, 60, 20], False),  # tinted as frost is
    ],
)
@pytest.mark.parametrize('loader', [{}, {'imdecode_backend': 'pillow'}])
def test_red_and_blue_of_copies(tmp_path, change, swapped, loader):
    clean = write_clean(tmp_path / 'clean', count=4)
    write_copies(tmp_path / 'c', clean, applied, change)
    if swapped:
        with pytest.raises(InputError, match=r'have red and blue swapped, compared with .*clean'):
            check(tmp_path / 'c', clean, Dataset(**loader))
    else:
        check(tmp_path / 'c', clean, Dataset(**loader))


def test_the_copy_that_is_named_is_a_swapped_one(tmp_path):
    clean = write_clean(tmp_path / 'clean', count=5)
    write_copies(tmp_path / 'c', clean, applied, lambda image: image[..., ::-1])
    write_copies(tmp_path / 'c', clean[2:3], applied)
    with pytest.raises(
        InputError, match=r'/[0134]\.png and other copies .*, compared with .*clean'
    ):
        check(tmp_path / 'c', clean, Dataset())


@pytest.mark.parametrize('count', [3, 5])
def test_a_few_copies_prove_nothing(tmp_path, count):
    """Three of them, and others without colours."""
    clean = write_clean(tmp_path / 'clean', count=count)
    for path in clean[3:]:
        Image.fromarray(scene()).convert('L').save(path)
    write_copies(tmp_path / 'c', clean, applied, lambda image: image[..., ::-1])
    check(tmp_path / 'c', clean, Dataset())


def test_colours_of_any_numbers(tmp_path, monkeypatch):
    """A loader of one's own may give what OpenCV does not scale."""
    clean = write_clean(tmp_path / 'clean', count=4)
    write_copies(tmp_path / 'c', clean, applied)
    load = LoadImageFromFile.transform
    monkeypatch.setattr(
        LoadImageFromFile,
        'transform',
        lambda self, results: (r := load(self, results)) | {'img': r['img'].astype(np.int64)},
    )
    check(tmp_path / 'c', clean, Dataset())
