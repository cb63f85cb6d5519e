"""A picture is corrupted as the RGB picture that it is, whatever a pipeline makes of it."""

import random

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine.dataset import BaseDataset
from mmengine.registry import DefaultScope
from PIL import Image

from fan_mm.corruptions import corrupt, image_key, seed_for
from fan_mm.datasets.transforms import CorruptImage
from fan_mm.errors import InputError
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.loading.picture_flow import Look, colour_orders
from fan_mm.evaluation.pipelines import from_files, on_the_fly, with_cells

pytest.importorskip('mmpretrain')
SPATTER = Cell('spatter', 4)  # its drops are blue, its mud is brown


class Files(BaseDataset):
    """A dataset of one file."""

    def __init__(self, file, pipeline, **info):
        self.info = {'img_path': str(file), **info}
        super().__init__(pipeline=pipeline)

    def load_data_list(self):
        return [self.info]


class ForClassification(Files):
    """As if it were one of mmpretrain's, or derived from one."""

    __module__ = 'mmpretrain.datasets.somewhere'


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    """A colourful picture."""
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    pixels[..., 2] //= 3  # little red
    path = tmp_path_factory.mktemp('flow') / 'street' / 'a.png'
    path.parent.mkdir()
    cv2.imwrite(str(path), cv2.resize(pixels, (96, 80), interpolation=cv2.INTER_CUBIC))
    return path


def make(file, pipeline, cls=Files, step=lambda: CorruptImage('clean'), place=on_the_fly, **info):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = cls(file, pipeline, **info)
    return with_cells(dataset, step, place)


def pixels(results):
    image = results['inputs'] if 'inputs' in results else results['img']
    if isinstance(image, torch.Tensor):
        image = image.numpy()
    image = np.asarray(image)
    return image.transpose(1, 2, 0) if image.shape[0] in (1, 3, 4) else image


def check(file, pipeline, order, cls=Files, benchmark='bgr'):
    """What leaves the pipeline is its clean output corrupted as RGB; ``order`` is the output's."""
    data, (moved,) = make(
        file, pipeline, cls, lambda: CorruptImage('clean', channel_order=benchmark)
    )
    clean = pixels(data[0])
    moved.move_to(SPATTER)
    got = pixels(data[0])
    seed = seed_for(0, image_key(str(file)), *SPATTER)
    rgb = (clean[..., ::-1] if order == 'bgr' else clean).astype(np.uint8)
    if benchmark == 'bgr-as-rgb':
        wanted = corrupt(rgb[..., ::-1], *SPATTER, seed=seed)[..., ::-1]
    else:
        wanted = corrupt(rgb, *SPATTER, seed=seed)
    wanted = wanted[..., ::-1] if order == 'bgr' else wanted
    np.testing.assert_array_equal(got.reshape(wanted.shape), wanted.astype(got.dtype))
    assert moved.channel_order == order
    return data, moved


LOAD = dict(type='LoadImageFromFile')
PACK = dict(type='PackInputs')
SIZE = dict(type='torchvision/Resize', size=(64, 64))


class ReadRGB(BaseTransform):
    """A loader whose name says nothing."""

    def transform(self, results):
        image = cv2.imread(results['img_path'])
        results['img'] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results


def read_pillow(results):
    """A function as a loader."""
    return {**results, 'img': Image.open(results['img_path']).convert('RGB')}


class LoadImageRGB(LoadImageFromFile):
    """mmcv's with another order."""

    channel_order = 'rgb'

    def transform(self, results):
        results = super().transform(results)
        results['img'] = results['img'][..., ::-1]
        return results


class LoadImageFromArchive(BaseTransform):
    """Its pictures lie where no path of a probe leads; only its option tells the order."""

    def __init__(self, channel_order='rgb'):
        self.channel_order = channel_order
        self.image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)

    def transform(self, results):
        return {**results, 'img': self.image.copy()}


class HandOver(BaseTransform):
    """A packer whose name says nothing."""

    def transform(self, results):
        image = np.ascontiguousarray(np.asarray(results['img']).transpose(2, 0, 1))
        return {'inputs': torch.from_numpy(image), 'data_samples': results['img_path']}


PIPELINES = {
    'arrays': ([LOAD, dict(type='ResizeEdge', scale=64), PACK], 'bgr'),
    'pillow backend': ([dict(LOAD, imdecode_backend='pillow'), PACK], 'bgr'),
    'floats': ([dict(LOAD, to_float32=True), PACK], 'bgr'),
    'Pillow, RGB': ([LOAD, dict(type='NumpyToPIL', to_rgb=True), SIZE, PACK], 'rgb'),
    'Pillow, BGR': ([LOAD, dict(type='NumpyToPIL'), SIZE, PACK], 'bgr'),
    'back, RGB': (
        [LOAD, dict(type='NumpyToPIL', to_rgb=True), SIZE, dict(type='PILToNumpy'), PACK],
        'rgb',
    ),
    'back, BGR': (
        [LOAD, dict(type='NumpyToPIL', to_rgb=True), dict(type='PILToNumpy', to_bgr=True), PACK],
        'bgr',
    ),
    'never exchanged': ([LOAD, dict(type='NumpyToPIL'), dict(type='PILToNumpy'), PACK], 'bgr'),
    'exchanged once': (
        [LOAD, dict(type='NumpyToPIL'), dict(type='PILToNumpy', to_bgr=True), PACK],
        'rgb',
    ),
    'bytes as a tensor': (
        [LOAD, dict(type='NumpyToPIL', to_rgb=True), dict(type='torchvision/PILToTensor'), PACK],
        'rgb',
    ),
    'grey in three channels': (
        [
            LOAD,
            dict(type='NumpyToPIL', to_rgb=True),
            dict(type='torchvision/Grayscale', num_output_channels=3),
            PACK,
        ],
        'rgb',
    ),
    'inverted': (
        [
            LOAD,
            dict(type='NumpyToPIL', to_rgb=True),
            dict(type='torchvision/RandomInvert', p=1.0),
            PACK,
        ],
        'rgb',
    ),
    'random colours': (
        [
            LOAD,
            dict(type='ColorTransform', magnitude=0.4, prob=0.0),
            dict(type='NumpyToPIL', to_rgb=True),
            PACK,
        ],
        'rgb',
    ),
    'exchanged by Normalize': (
        [LOAD, dict(type='Normalize', mean=[0, 0, 0], std=[1, 1, 1], to_rgb=True), PACK],
        'rgb',
    ),
    'RandomApply': (
        [
            LOAD,
            dict(type='RandomApply', transforms=[dict(type='NumpyToPIL', to_rgb=True)], prob=1.0),
            PACK,
        ],
        'rgb',
    ),
    'RandomChoice': (
        [
            LOAD,
            dict(type='RandomChoice', transforms=[[dict(type='NumpyToPIL', to_rgb=True)]]),
            PACK,
        ],
        'rgb',
    ),
    'KeyMapper': (
        [
            LOAD,
            dict(
                type='KeyMapper',
                mapping={'img': 'img'},
                auto_remap=True,
                transforms=[dict(type='NumpyToPIL', to_rgb=True)],
            ),
            PACK,
        ],
        'rgb',
    ),
    'a loader by its class': ([dict(type=LoadImageRGB), PACK], 'rgb'),
    'a loader without a name': ([dict(type=ReadRGB), PACK], 'rgb'),
    'a function': ([read_pillow, SIZE, PACK], 'rgb'),
    'an archive': ([LoadImageFromArchive('rgb'), PACK], 'rgb'),
    'an archive, blue first': ([LoadImageFromArchive('bgr'), PACK], 'bgr'),
}


@pytest.mark.parametrize('name', PIPELINES)
def test_corrupted_as_rgb(file, name):
    check(file, *PIPELINES[name])


@pytest.mark.parametrize('name', ['arrays', 'Pillow, RGB', 'exchanged once', 'Pillow, BGR'])
def test_corrupted_with_the_colours_exchanged(file, name):
    check(file, *PIPELINES[name], benchmark='bgr-as-rgb')


@pytest.mark.parametrize('suffix', ['.jpg', '.bmp', '.tif', '.webp', '.JPEG', '.dat'])
def test_whatever_the_file_format(file, suffix, tmp_path):
    copy = tmp_path / f'b{suffix}'
    coding = suffix if suffix != '.dat' else '.png'
    copy.write_bytes(cv2.imencode(coding, cv2.imread(str(file)))[1].tobytes())
    check(copy, [dict(type=ReadRGB), PACK], 'rgb')


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_a_loader_that_reads_no_probe_is_compared_with_the_file(file, order):
    class Once(BaseTransform):
        def transform(self, results):
            image = cv2.imread({str(file): str(file)}[results['img_path']])
            return {**results, 'img': image[..., ::-1] if order == 'rgb' else image}

    check(file, [Once(), PACK], order)


def test_a_dataset_that_holds_the_picture_is_compared_with_the_file(file):
    rgb = cv2.imread(str(file))[..., ::-1]
    data, (moved,) = make(file, [PACK], img=np.ascontiguousarray(rgb))
    assert moved.channel_order == 'rgb'
    moved.move_to(SPATTER)
    wanted = corrupt(rgb, *SPATTER, seed=seed_for(0, image_key(str(file)), *SPATTER))
    np.testing.assert_array_equal(pixels(data[0]), wanted)
    with_alpha, look = Image.open(file).convert('RGBA'), Look()
    assert colour_orders([look], look, {'img': with_alpha, 'img_path': str(file)}) == {'rgb'}


def test_a_first_picture_without_colours_hides_no_order(tmp_path, file):
    grey = tmp_path / 'grey.png'
    cv2.imwrite(str(grey), np.full((64, 64), 90, np.uint8))
    pipeline = [dict(LOAD, color_type='unchanged'), HandOverAny()]
    _, (moved,) = make(grey, [*pipeline[:1], dict(type=Exchange), *pipeline[1:]])
    assert moved.channel_order == 'bgr'  # for segmentation: where it is loaded
    _, (moved,) = make(grey, [*pipeline[:1], dict(type=Exchange), *pipeline[1:]], ForClassification)
    assert moved.channel_order == 'rgb'
    _, (moved,) = make(grey, [dict(type=ReadRGB), PACK])  # three equal channels
    assert moved.channel_order == 'rgb'


class Exchange(BaseTransform):
    def transform(self, results):
        image = results['img']
        return {**results, 'img': image[..., ::-1] if image.ndim == 3 else image}


class HandOverAny(BaseTransform):
    def transform(self, results):
        return {'inputs': results['img']}


def test_grey_pictures(file):
    pipeline = [dict(LOAD, color_type='grayscale'), PACK]
    data, (moved,) = make(file, pipeline)
    clean = pixels(data[0])[..., 0]
    moved.move_to(SPATTER)
    wanted = corrupt(clean, *SPATTER, seed=seed_for(0, image_key(str(file)), *SPATTER))
    np.testing.assert_array_equal(pixels(data[0])[..., 0], wanted)


@pytest.mark.parametrize('load', [dict(type=ReadRGB), LOAD], ids=['no name', 'LoadImage'])
@pytest.mark.parametrize('cls', [Files, ForClassification])
def test_packers_whose_name_says_nothing(file, load, cls):
    """mmpretrain's data is corrupted last, other data once it is loaded."""
    flip = dict(type='RandomFlip', prob=1.0, direction='horizontal')
    data, (moved,) = make(file, [load, flip, dict(type=HandOver)], cls)
    clean = pixels(data[0])
    moved.move_to(SPATTER)
    rgb = clean if load != LOAD else clean[..., ::-1]
    seed = seed_for(0, image_key(str(file)), *SPATTER)
    if cls is ForClassification:
        wanted = corrupt(rgb, *SPATTER, seed=seed)
    else:
        wanted = corrupt(rgb[:, ::-1], *SPATTER, seed=seed)[:, ::-1]
    wanted = wanted if load != LOAD else wanted[..., ::-1]
    np.testing.assert_array_equal(pixels(data[0]), wanted)


def test_nothing_packs_but_the_collate_function(file):
    data, (moved,) = make(file, [read_pillow, SIZE], ForClassification)
    clean = np.asarray(data[0]['img'])
    moved.move_to(SPATTER)
    wanted = corrupt(clean, *SPATTER, seed=seed_for(0, image_key(str(file)), *SPATTER))
    np.testing.assert_array_equal(np.asarray(data[0]['img']), wanted)


def test_test_time_augmentation(file):
    pipeline = [
        LOAD,
        dict(
            type='TestTimeAug',
            transforms=[
                [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
                [dict(type='NumpyToPIL', to_rgb=True)],
                [PACK],
            ],
        ),
    ]
    data, (moved,) = make(file, pipeline)
    clean = data[0]['inputs']
    moved.move_to(SPATTER)
    seed = seed_for(0, image_key(str(file)), *SPATTER)
    assert len(clean) == 2
    for before, after in zip(clean, data[0]['inputs'], strict=True):
        wanted = corrupt(before.numpy().transpose(1, 2, 0), *SPATTER, seed=seed)
        np.testing.assert_array_equal(after.numpy().transpose(1, 2, 0), wanted)


def test_branches_that_disagree_are_refused(file):
    branches = [[dict(type='NumpyToPIL', to_rgb=True), dict(type='NumpyToPIL')], [PACK]]
    with pytest.raises(InputError, match='use the same order in all branches'):
        make(file, [LOAD, dict(type='TestTimeAug', transforms=branches)])


SCALE = dict(mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4])
TENSOR = [LOAD, dict(type='NumpyToPIL', to_rgb=True), dict(type='torchvision/ToTensor')]


@pytest.mark.parametrize(
    ('pipeline', 'message'),
    [
        ([LOAD, dict(type='Normalize', **SCALE), PACK], 'float32 from .* not values from 0 to 255'),
        ([*TENSOR, PACK], r'float32 from .*data_preprocessor'),
        ([*TENSOR[:2], lambda r: {**r, 'img': r['img'].convert('P')}, PACK], 'of mode P'),
        ([*TENSOR[:2], lambda r: {**r, 'img': r['img'].convert('CMYK')}, PACK], 'of mode CMYK'),
        ([LOAD, lambda r: {**r, 'img': [r['img']] * 2}, PACK], 'is a list'),
        ([LOAD, lambda r: {**r, 'img': r['img'].astype(np.uint16) * 257}, PACK], 'uint16 from'),
        ([LOAD, lambda r: {**r, 'img': np.dstack([r['img']] * 2)}, PACK], r'shape \(80, 96, 6\)'),
        (
            [LOAD, lambda r: {'picture': r['img'], 'img_path': 'a.png'}, PACK],
            'but the sample has picture, img_path',
        ),
        ([LOAD, lambda r: {**r, 'img_path': None}, PACK], 'no img_path'),
    ],
)
def test_what_cannot_be_corrupted_is_refused_when_the_pipelines_are_made(file, pipeline, message):
    with pytest.raises(InputError, match=message) as error:
        make(file, pipeline)
    assert str(error.value).startswith('Files: ')
    assert '\n' not in str(error.value)
    make(file, pipeline, step=lambda: lambda results: results, place=from_files)  # files may be


def test_alpha_is_kept(file, tmp_path):
    rgba = Image.open(file).convert('RGBA')
    rgba.putalpha(Image.fromarray(np.arange(96, dtype=np.uint8)[None].repeat(80, 0)))
    results = CorruptImage('fog', 3, channel_order='rgb')({'img': rgba, 'img_path': str(file)})
    got = np.asarray(results['img'])
    np.testing.assert_array_equal(got[..., 3], np.asarray(rgba)[..., 3])
    wanted = corrupt(np.asarray(rgba)[..., :3], 'fog', 3, seed=seed_for(0, 'street/a', 'fog', 3))
    np.testing.assert_array_equal(got[..., :3], wanted)


def test_trying_a_pipeline_leaves_no_trace(file):
    """Neither in the random generators nor in the transforms."""

    class Counts(BaseTransform):
        calls = 0

        def transform(self, results):
            self.calls += 1
            random.random(), np.random.rand(), torch.rand(1)
            return results

    counts = Counts()
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    make(file, [LOAD, counts, PACK])
    assert counts.calls == 0
    assert random.getstate() == states[0]
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])
    assert torch.equal(torch.get_rng_state(), states[2])


def test_a_pipeline_that_fails_is_left_to_fail_where_it_runs(file):
    def fails(results):
        raise OSError('unreadable')

    data, _ = make(file, [LOAD, fails, PACK])
    with pytest.raises(OSError, match='unreadable'):
        data[0]


@pytest.mark.parametrize('where', ['before', 'after'])
def test_a_transform_that_takes_no_picture_of_one_colour(file, where):
    """Of the order nothing is known only where none of the painted image gets there."""

    def centred(results):
        if results['img'].std(axis=(0, 1)).max() < 1:
            raise ZeroDivisionError('no contrast')
        return results

    look = Look()
    if where == 'after':
        transforms = [LoadImageFromFile(), look, centred]
        assert colour_orders(transforms, look, {'img_path': str(file)}) == {'bgr'}
    else:
        with pytest.raises(InputError, match=r'cannot be determined: .* ZeroDivisionError: no con'):
            colour_orders([LoadImageFromFile(), centred, look], look, {'img_path': str(file)})


@pytest.mark.parametrize(
    ('crop', 'kept'),
    [
        (lambda r: {**r, 'img': r['img'][8:-8, 8:-8]}, True),  # within the edge
        (lambda r: {**r, 'img': r['img'][:, 20:]}, False),
        (lambda r: {**r, 'img': r['img'][40:-40, 40:-40]}, False),
        (dict(type='ResizeEdge', scale=64), True),
        (dict(type='Pad', size=(300, 300)), True),
    ],
)
def test_files_are_not_cropped_by_a_transform_of_any_name(file, crop, kept):
    pipeline = [LOAD, crop, PACK]
    if kept:
        make(file, pipeline, step=lambda: lambda results: results, place=from_files)
    else:
        with pytest.raises(InputError, match='cuts off their edges'):
            make(file, pipeline, step=lambda: lambda results: results, place=from_files)


def test_clean_cells_run_the_pipeline_as_it_was(file):
    data, moved = check(file, *PIPELINES['Pillow, RGB'])
    moved.move_to(CLEAN)
    image = Image.open(file).resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(pixels(data[0]), np.asarray(image))
