"""Pictures kept from cell to cell: the same samples, read once, and nothing left behind."""

import os
import random
import signal
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmcv.transforms import TestTimeAug as Augmented
from mmcv.transforms.utils import cache_randomness
from mmengine.dataset import BaseDataset, ConcatDataset
from PIL import Image
from torch.utils.data import DataLoader

from fan_mm.datasets.transforms import CorruptImage
from fan_mm.errors import InputError
from fan_mm.evaluation.cell_dataset import CellBatches, CellDataset, loader_like
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.loading import image_cache
from fan_mm.evaluation.loading.image_cache import ImageCache, check_image_cache, kept_images, packed
from fan_mm.evaluation.pipelines import as_the_model_gets_it, on_the_fly, with_cells
from fan_mm.fileio import alone_in

CELLS = [CLEAN, Cell('gaussian_noise', 2), Cell('contrast', 4)]
LOADED = []


class Load(LoadImageFromFile):
    def transform(self, results):
        LOADED.append(Path(results['img_path']).name)
        return super().transform(results)


def invert_in_place(results):
    """As somebody's transform after the corruption may do."""
    results['img'] -= results['img'][::-1].copy()
    results['left'] -= 1
    return results


def half(results):
    """Resized, seen through a stride, and with an array beside it."""
    results['img'] = results['img'][::2, ::-2]
    results['left'] = results['img'][:, :3].copy()
    return results


class Pack(BaseTransform):
    def transform(self, results):
        return np.array(results['img']), results.get('left'), results['sample_idx']


class PackInputs(BaseTransform):
    def transform(self, results):
        return {'inputs': np.array(results['img'])}


class Files(BaseDataset):
    """Pictures of a folder."""

    def load_data_list(self):
        files = sorted(Path(self.data_root).glob('*.png'))
        return [{'img_path': str(file), 'label': [1, {'of': file.name}]} for file in files]


@pytest.fixture
def pictures(tmp_path):
    """Folder of five pictures of several sizes."""
    rng = np.random.default_rng(0)
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for number in range(5):
        picture = rng.integers(0, 256, (70 + number, 80, 3), np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), picture)
    LOADED.clear()
    return folder


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / 'place'
    folder.mkdir()
    return folder


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(image_cache, 'print_log', lambda line, *_: lines.append(line))
    return lines


def in_cells(dataset, where=as_the_model_gets_it):
    made = with_cells(dataset, lambda: CorruptImage('clean'), where)
    return CellDataset(*made, CELLS, list(range(len(dataset))))


def read(dataset, workers=0):
    """All samples in all cells, as a loader gives them."""
    loader = DataLoader(
        list(range(len(dataset))), batch_size=2, num_workers=workers, collate_fn=list
    )
    batches = CellBatches(range(len(CELLS)), len(dataset.samples), 2, 0, 1)
    return [sample for batch in loader_like(loader, dataset, batches) for sample in batch]


def same(found, expected):
    assert len(found) == len(expected)
    for sample, other in zip(found, expected, strict=True):
        for value, as_before in zip(sample, other, strict=True):
            assert np.array_equal(value, as_before)
            assert type(value) is type(as_before)


def loads_of(dataset, where):
    """How often a file is read in the cells, beyond the first samples that are tried."""
    with kept_images(dataset, where):
        LOADED.clear()
        read(dataset)
    return len(LOADED)


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('where', [on_the_fly, as_the_model_gets_it])
def test_the_same_samples_and_nothing_left(pictures, place, where, workers):
    plain = (
        [Load(), half, invert_in_place, Pack()] if where is on_the_fly else [Load(), half, Pack()]
    )
    dataset = in_cells(Files(data_root=str(pictures), pipeline=plain), where)
    expected = read(dataset)
    with kept_images(dataset, place):
        (folder,) = place.iterdir()
        assert folder.stat().st_mode & 0o077 == 0
        same(read(dataset, workers), expected)
        assert len(list(folder.iterdir())) == 5
        same(read(dataset), expected)
    assert not list(place.iterdir())
    same(read(dataset), expected)


@pytest.mark.parametrize('off', [False, True])
def test_each_picture_is_read_once(pictures, place, off):
    dataset = in_cells(Files(data_root=str(pictures), pipeline=[Load(), Pack()]))
    assert loads_of(dataset, 'off' if off else place) == (15 if off else 5)


def test_auto_says_size_and_place(pictures, place, said, monkeypatch):
    monkeypatch.setattr(image_cache, '_places', lambda where: [place])
    dataset = in_cells(Files(data_root=str(pictures), pipeline=[Load(), Pack()]))
    with kept_images(dataset):
        assert said == [f'image cache: about 1 MiB for 5 images in {next(place.iterdir())}']


@pytest.mark.parametrize('available', [2**30 - 1, 0])
def test_auto_goes_on_without_where_there_is_no_room(pictures, place, said, monkeypatch, available):
    monkeypatch.setattr(image_cache, '_places', lambda where: [place])
    monkeypatch.setattr(image_cache, 'lies_in_memory', lambda folder: True)
    monkeypatch.setattr(image_cache, 'available_memory', lambda: available)
    dataset = in_cells(Files(data_root=str(pictures), pipeline=[Load(), Pack()]))
    assert loads_of(dataset, 'auto') == 15
    assert not list(place.iterdir())
    assert said[0].startswith('no image cache: about 1 MiB for 5 images is too much for')


def test_room_that_ends_while_it_is_filled(pictures, place):
    cache = ImageCache(place, spare=2**60)
    cache.put('a', packed({'img': np.zeros(9)}))
    assert cache.get('a') is None
    assert not list(place.iterdir())


class Declared(BaseTransform):
    @cache_randomness
    def choose(self):
        return 0

    def transform(self, results):
        self.choose()
        return results


class RandomBrightness:
    def __call__(self, results):
        return results


def drawn_from(draw):
    def shift(results):
        results['img'] = results['img'] + np.uint8(draw())
        return results

    return shift


class Counts:
    calls = 0

    def __call__(self, results):
        self.calls += 1
        return {**results, 'img': results['img'] + np.uint8(self.calls)}


@pytest.mark.parametrize(
    'transform',
    [
        drawn_from(lambda: random.random() > 2),  # draws, and does nothing with it
        drawn_from(lambda: 0 * np.random.randint(9)),
        drawn_from(lambda: torch.rand(()).item() // 1),
        drawn_from(partial(np.random.default_rng().integers, 256)),
        drawn_from(lambda: np.random.default_rng().integers(256)),
        Declared(),
        RandomBrightness(),
        Counts(),
        lambda results: {**results, 'held': open(os.devnull)},  # noqa: SIM115
        lambda results: {**results, 'held': lambda: None},
    ],
)
def test_what_may_differ_or_cannot_be_kept_goes_without(pictures, place, said, transform):
    pipeline = [Load(), transform, Pack()]
    dataset = in_cells(Files(data_root=str(pictures), pipeline=pipeline))
    before = image_cache.random_states()
    with kept_images(dataset, place):
        assert not list(place.iterdir())
    assert not image_cache._have_moved(before)
    assert len(said) == 1
    assert said[0].startswith('no image cache: ')


def test_randomness_for_some_pictures_only(pictures, place, monkeypatch):
    """That are not among those tried: they are not kept, the others are."""
    monkeypatch.setattr(image_cache, '_PROBED', 1)

    def shift(results):
        if results['img_path'].endswith('4.png'):
            random.random()
        return results

    dataset = in_cells(Files(data_root=str(pictures), pipeline=[Load(), shift, Pack()]))
    assert loads_of(dataset, place) == 5 + 2


class Memory(BaseDataset):
    def load_data_list(self):
        image = np.full((80, 80, 3), 7, np.uint8)
        return [{'img': image, 'img_path': f'{i}.png'} for i in range(3)]


def test_several_pipelines(pictures, place, said):
    """Each by itself: one whose dataset holds its pictures goes without."""
    parts = [
        Files(data_root=str(pictures), pipeline=[Load(), Pack()]),
        Memory(pipeline=[half, Pack()]),
        Files(data_root=str(pictures), pipeline=[Load(), half, Pack()]),
    ]
    dataset = in_cells(ConcatDataset(parts))
    expected = read(dataset)
    with kept_images(dataset, place):
        LOADED.clear()
        same(read(dataset), expected)
    assert len(LOADED) == 10
    assert said[0].endswith('; not for all: the dataset holds its images in memory')


def test_a_corruption_within_another_transform(pictures, place):
    """What stands before the outer one is kept."""
    pipeline = [Load(), Augmented(transforms=[[half], [PackInputs()]])]
    dataset = in_cells(Files(data_root=str(pictures), pipeline=pipeline))
    assert loads_of(dataset, place) == 5


FORMS = [
    np.arange(12, dtype=np.float32).reshape(3, 4),
    np.arange(24).reshape(2, 3, 4)[:, ::-1, ::2],
    np.asfortranarray(np.arange(12).reshape(3, 4)),
    np.zeros((0, 3)),
    torch.arange(6.0).reshape(2, 3).t(),
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)),
]


@pytest.mark.parametrize('value', FORMS)
def test_all_forms_of_pictures(place, value):
    cache = ImageCache(place)
    cache.put('a', packed({'img': value, 'shape': (3, 4)}))
    found = cache.get('a')
    assert type(found['img']) is type(value)
    assert np.array_equal(np.asarray(found['img']), np.asarray(value))
    assert found['shape'] == (3, 4)


@pytest.mark.parametrize('shapes', [[(3,)], [(5, 7), (64,), (1,)], [(9, 9, 3)] * 4, [(0,), (2,)]])
def test_every_array_begins_at_a_multiple_of_64_bytes(shapes):
    arrays = [np.full(shape, 200 + i, np.uint8) for i, shape in enumerate(shapes)]
    parts = packed({'arrays': arrays})
    starts = np.cumsum([0, *map(len, parts)])
    found = [(i, part) for i, part in enumerate(parts) if isinstance(part, memoryview)]
    assert [bytes(part) for _, part in found] == [array.tobytes() for array in arrays]
    assert all(starts[i] % 64 == 0 and len(parts[i - 1]) < 64 for i, _ in found)


def test_who_writes_on_a_sample_writes_for_himself(place):
    cache = ImageCache(place)
    cache.put('a', packed({'img': np.zeros((9, 9))}))
    first = cache.get('a')['img']
    first += 1
    assert not cache.get('a')['img'].any()


def test_two_who_keep_the_same_one(place):
    cache, parts = ImageCache(place), packed({'img': np.ones((9, 9))})
    held = None
    for _ in range(2):
        cache.put('a', parts)
        held = held or cache.get('a')
    assert held['img'].all()
    assert [file.name for file in place.iterdir()] == ['a']


@pytest.mark.parametrize(
    'breaks',
    [
        lambda data: b'',
        lambda data: data[:-1],
        lambda data: data[:30],
        lambda data: data + b'\0',
        lambda data: b'x' + data[1:],
        lambda data: data[:24] + b'\xff' * (len(data) - 24),
        lambda data: data[:40] + bytes(100) + data[140:],  # the pickle
    ],
)
def test_a_broken_file_is_read_again(pictures, place, breaks):
    dataset = in_cells(Files(data_root=str(pictures), pipeline=[Load(), Pack()]))
    expected = read(dataset)
    with kept_images(dataset, place):
        same(read(dataset), expected)
        for file in place.glob('*/*'):
            file.write_bytes(breaks(file.read_bytes()))
        LOADED.clear()
        same(read(dataset), expected)
        assert len(LOADED) == 5


@pytest.mark.parametrize('stop', [KeyboardInterrupt, SystemExit, MemoryError])
def test_removed_however_the_sweep_ends(pictures, place, stop):
    """A worker may still be writing: it finds its folder gone."""
    dataset = in_cells(Files(data_root=str(pictures), pipeline=[Load(), Pack()]))
    with pytest.raises(stop), kept_images(dataset, place):
        late = dataset.pipelines[0].clean
        raise stop
    assert not list(place.iterdir())
    late({'img_path': str(pictures / '0.png'), 'sample_idx': 0})
    assert not list(place.iterdir())


def test_what_a_kill_left_is_removed_and_what_is_in_use_stays(pictures, place):
    dataset = in_cells(Files(data_root=str(pictures), pipeline=[Load(), Pack()]))
    child = os.fork()
    if not child:
        with kept_images(dataset, place):
            read(dataset)
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(list(place.glob('fan_mm_images_*/*'))) == 5
    running = place / 'fan_mm_images_running'
    other = place / 'somebody_elses'
    for folder in (running, other):
        folder.mkdir()
    with alone_in(running):
        image_cache._remove_left([place, place / 'none'])
        assert sorted(place.iterdir()) == [running, other]
    image_cache._remove_left([place])
    assert list(place.iterdir()) == [other]


def test_a_folder_that_another_run_took_for_left_behind(pictures, place, monkeypatch):
    """Between its making and its lock."""
    real, made = image_cache.alone_in, []

    def late(folder):
        made.append(folder)
        if len(made) == 1:
            image_cache._remove_left([place])
        return real(folder)

    monkeypatch.setattr(image_cache, 'alone_in', late)
    dataset = in_cells(Files(data_root=str(pictures), pipeline=[Load(), Pack()]))
    assert loads_of(dataset, place) == 5
    assert len(made) == 2


@pytest.mark.parametrize('where', ['atuo', 'a/file'])
def test_a_place_that_is_none(tmp_path, where):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'file').touch()
    with pytest.raises(
        InputError, match=r'^--image-cache must be auto, off or a folder, and .* is not'
    ):
        check_image_cache(tmp_path / where)


@pytest.mark.parametrize('denied', [os.W_OK, os.X_OK, 0])
def test_a_folder_that_may_not_be_written_into(tmp_path, monkeypatch, denied):
    monkeypatch.setattr(os, 'access', lambda path, mode: not mode & denied)
    if denied:
        with pytest.raises(InputError, match='the folder is not writable'):
            check_image_cache(tmp_path)
    else:
        check_image_cache(tmp_path)


@pytest.mark.parametrize(
    ('size', 'words'),
    [(0, '1 MiB'), (5.4 * 2**20, '5 MiB'), (2**30 - 1, '1024 MiB'), (2.5 * 2**30, '2.5 GiB')],
)
def test_sizes_in_words(size, words):
    assert image_cache._in_words(size) == words
