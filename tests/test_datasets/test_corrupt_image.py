import cv2
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmengine.registry import TRANSFORMS

import fan_mm  # noqa: F401  (registers the transforms)
from fan_mm.corruptions import corrupt, image_key, seed_for
from fan_mm.datasets import CorruptImage
from fan_mm.errors import InputError


@pytest.fixture
def image_file(tmp_path):
    path = tmp_path / 'town' / 'street.png'
    path.parent.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    cv2.imwrite(str(path), cv2.resize(pixels, (96, 64), interpolation=cv2.INTER_CUBIC))
    return path


def load(path, **corruption):
    pipeline = Compose(
        [
            TRANSFORMS.build(dict(type='LoadImageFromFile')),
            TRANSFORMS.build(dict(type='CorruptImage', **corruption)),
        ]
    )
    return pipeline(dict(img_path=str(path)))


@pytest.mark.parametrize('name', ['gaussian_noise', 'glass_blur', 'snow', 'saturate'])
def test_in_a_pipeline_it_gives_the_benchmarks_pixels(image_file, name):
    results = load(image_file, corruption=name, severity=3, seed=7)
    bgr = cv2.imread(str(image_file))
    seed = seed_for(7, 'town/street', name, 3)
    rgb = corrupt(bgr[..., ::-1], name, 3, seed=seed)
    assert np.array_equal(results['img'], rgb[..., ::-1])
    assert results['img'].dtype == np.uint8
    assert results['corruption'] == dict(name=name, severity=3, seed=7)


def test_same_pixels_wherever_the_dataset_lies_and_whatever_was_loaded_before(image_file, tmp_path):
    moved = tmp_path / 'elsewhere' / 'town' / 'street.png'
    moved.parent.mkdir(parents=True)
    moved.write_bytes(image_file.read_bytes())
    first = load(image_file, corruption='frost', severity=2)['img']
    np.random.rand(5)
    assert np.array_equal(load(moved, corruption='frost', severity=2)['img'], first)
    other = moved.with_name('other.png')
    other.write_bytes(image_file.read_bytes())
    assert not np.array_equal(load(other, corruption='frost', severity=2)['img'], first)


def test_reads_and_writes_no_global_random_state(image_file):
    before = np.random.get_state()[1].copy()
    load(image_file, corruption='shot_noise', severity=1)
    assert np.array_equal(np.random.get_state()[1], before)


def test_does_not_write_into_the_loaded_array(image_file):
    image = cv2.imread(str(image_file))
    before = image.copy()
    CorruptImage('brightness', 5)(dict(img=image, img_path=str(image_file)))
    assert np.array_equal(image, before)


def test_clean_leaves_the_image_alone(image_file):
    results = load(image_file, corruption='clean')
    assert np.array_equal(results['img'], cv2.imread(str(image_file)))
    assert results['corruption'] == dict(name='clean', severity=0, seed=0)


def test_one_built_transform_moves_from_cell_to_cell(image_file):
    transform = CorruptImage('clean')
    for name, severity in (('fog', 1), ('fog', 4), ('pixelate', 4)):
        transform.corruption, transform.severity = name, severity
        results = transform(dict(img=cv2.imread(str(image_file)), img_path=str(image_file)))
        expected = load(image_file, corruption=name, severity=severity)
        assert np.array_equal(results['img'], expected['img'])
        assert results['corruption'] == expected['corruption']


def test_grey_levels_as_floats_keep_their_dtype(image_file):
    image = cv2.imread(str(image_file))
    transform = CorruptImage('impulse_noise', 2)
    integers = transform(dict(img=image, img_path=str(image_file)))['img']
    floats = transform(dict(img=image.astype(np.float32), img_path=str(image_file)))['img']
    assert floats.dtype == np.float32
    assert np.array_equal(floats, integers)


@pytest.mark.parametrize(
    'spoil', [lambda x: x / 255, lambda x: x - 123.0, lambda x: x * np.nan, lambda x: x * 2 + 200]
)
def test_a_normalised_image_is_refused_with_the_order_of_transforms(image_file, spoil):
    image = spoil(cv2.imread(str(image_file)).astype(np.float32))
    with pytest.raises(InputError, match='directly after LoadImageFromFile'):
        CorruptImage('snow', 1)(dict(img=image, img_path=str(image_file)))


def test_grey_image(image_file):
    grey = cv2.imread(str(image_file), cv2.IMREAD_GRAYSCALE)
    results = CorruptImage('gaussian_noise', 3)(dict(img=grey, img_path=str(image_file)))
    assert results['img'].shape == grey.shape
    assert not np.array_equal(results['img'], grey)


def test_channel_orders(image_file):
    bgr = cv2.imread(str(image_file))
    seed = seed_for(0, image_key(image_file), 'spatter', 4)
    as_rgb = load(image_file, corruption='spatter', severity=4, channel_order='bgr-as-rgb')['img']
    assert np.array_equal(as_rgb, corrupt(bgr, 'spatter', 4, seed=seed))
    assert not np.array_equal(as_rgb, load(image_file, corruption='spatter', severity=4)['img'])
    rgb = dict(img=bgr[..., ::-1], img_path=str(image_file))
    from_rgb = CorruptImage('spatter', 4, channel_order='rgb')(rgb)['img']
    assert np.array_equal(
        from_rgb[..., ::-1], load(image_file, corruption='spatter', severity=4)['img']
    )


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(corruption='snwo', severity=1), 'snow'),
        (dict(corruption='snow', severity=6), 'severity'),
        (dict(corruption='snow'), 'severity'),
        (dict(corruption='snow', severity=1, channel_order='gbr'), 'channel_order'),
    ],
)
def test_mistakes_are_told_when_the_pipeline_is_built(arguments, message):
    with pytest.raises(InputError, match=message):
        CorruptImage(**arguments)


def test_a_sample_that_is_no_file(image_file):
    with pytest.raises(InputError, match='img_path'):
        CorruptImage('snow', 1)(dict(img=cv2.imread(str(image_file))))


def test_meta_reaches_the_data_sample(image_file):
    formatting = pytest.importorskip('mmseg.datasets.transforms')
    results = load(image_file, corruption='snow', severity=2, seed=5)
    packed = formatting.PackSegInputs(meta_keys=('img_path', 'corruption'))(results)
    assert packed['data_samples'].corruption == dict(name='snow', severity=2, seed=5)


def test_repr_tells_the_cell():
    assert "corruption='snow', severity=2" in repr(CorruptImage('snow', 2))
