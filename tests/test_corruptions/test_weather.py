import math

import cv2
import numpy as np
import pytest
from corruption_pictures import Fixed, difference, static, street

from fan_mm.corruptions import corrupt, weather
from fan_mm.corruptions.filters import central_crop
from fan_mm.corruptions.seeding import Stream

SEVERITIES = (1, 2, 3, 4, 5)
SIZES = [(96, 128), (32, 32), (151, 37)]


@pytest.fixture
def reference():
    return pytest.importorskip('imagecorruptions')


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('size', SIZES)
def test_brightness(reference, severity, size):
    for image in (street(*size), static(*size)):
        image[:4] = 0  # black has no hue
        ours = corrupt(image, 'brightness', severity, seed=0)
        assert difference(ours, reference.corrupt(image, severity, 'brightness')).max() <= 1


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('angle', [-130.2, -90, -51])
def test_snow_with_the_same_noise(reference, severity, size, angle, monkeypatch):
    zoom = (3, 2, 4, 4.5, 2.5)[severity - 1]
    noise = np.random.default_rng(severity).normal(size=size)
    (top, rows), (left, columns) = (central_crop(side, zoom) for side in size)
    crop = noise[top : top + rows, left : left + columns]
    monkeypatch.setattr(np.random, 'normal', lambda size, loc, scale: loc + scale * noise)
    monkeypatch.setattr(np.random, 'uniform', lambda low, high: angle)
    image = street(*size)
    ours = weather.snow(image, severity, Fixed(normal=[crop], uniform=[angle]))
    theirs = reference.corrupt(image, severity, 'snow')
    delta = difference(ours, theirs)
    # a value that float32 puts on the other side of a threshold, or a flake's half level
    assert (delta > 1).mean() < 2e-3
    assert (delta > 3).sum() == 0


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize(
    'size', [(96, 128), (32, 32), (400, 33), (40, 700)], ids=['small', 'least', 'high', 'wide']
)
def test_frost_with_the_same_choices(reference, severity, size, monkeypatch):
    image = street(*size)
    for index in range(5):
        theirs_draw = iter([index, 0, 7])
        monkeypatch.setattr(np.random, 'randint', lambda *_, draw=theirs_draw: next(draw))
        ours = weather.frost(image, severity, Fixed(below=[index, 0, 7]))
        assert difference(ours, reference.corrupt(image, severity, 'frost')).max() <= 1


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('size', SIZES)
def test_fog_with_the_same_noise(reference, severity, size, monkeypatch):
    side = 1 << (max(size) - 1).bit_length()
    rng = np.random.default_rng(severity)
    noise = [
        rng.uniform(-1, 1, (n, n))
        for n in (1 << k for k in range(int(math.log2(side))))
        for _ in 'abc'
    ]
    drawn = iter(noise)
    monkeypatch.setattr(np.random, 'uniform', lambda low, high, shape: high * next(drawn))
    image = street(*size)
    ours = weather.fog(image, severity, Fixed(symmetric=noise))
    assert difference(ours, reference.corrupt(image, severity, 'fog')).max() <= 1


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('size', SIZES)
def test_spatter_with_the_same_noise(reference, severity, size, monkeypatch):
    noise = np.random.default_rng(severity).normal(size=size)
    noise.flat[:: noise.size // 7] = -4.33  # the least and largest that a `Stream` gives
    noise.flat[5 :: noise.size // 7] = 4.33
    monkeypatch.setattr(np.random, 'normal', lambda size, loc, scale: loc + scale * noise)
    image = street(*size)
    ours = weather.spatter(image, severity, Fixed(normal=[noise]))
    delta = difference(ours, reference.corrupt(image, severity, 'spatter'))
    # noise in steps of 1 / 14000 may cross a threshold that the reference's does not
    assert (delta > 1).mean() < 5e-3


def test_spatter_without_a_drop_leaves_the_image(reference):
    dry = np.zeros((40, 40))
    image = street(40, 40)
    assert (weather.spatter(image, 1, Fixed(normal=[dry])) == image).all()


@pytest.mark.parametrize('decay', [2, 1.4])
def test_plasma_wraps_and_has_the_references_roughness(reference, decay):
    from imagecorruptions.corruptions import plasma_fractal

    np.random.seed(0)

    def roughness(grid):
        grid = (grid - grid.min()) / np.ptp(grid)
        return [
            np.abs(grid - np.roll(grid, shift, axis)).mean() for shift in (1, 8) for axis in (0, 1)
        ]

    ours = np.array([roughness(weather.plasma(64, decay, Stream(seed))) for seed in range(150)])
    theirs = np.array([roughness(plasma_fractal(64, decay)) for _ in range(150)])
    error = np.sqrt((ours.var(0) + theirs.var(0)) / 150)
    assert (np.abs(ours.mean(0) - theirs.mean(0)) < 4 * error).all()


@pytest.mark.parametrize('scale', [1.1, 2.51, 4.02])
def test_enlarging_is_opencvs_bicubic(scale):
    picture = static(50, 61)
    size = math.ceil(61 * scale), math.ceil(50 * scale)
    whole = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    part = slice(3, size[1] - 4), slice(0, size[0])
    assert difference(weather._enlarge(picture, scale, part), whole[part]).max() <= 1


def test_missing_frost_pictures_are_said_in_one_line(monkeypatch):
    weather._frost_picture.cache_clear()
    weather._frost_enlarged.cache_clear()
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ValueError, match='pip install imagecorruptions-imaug'):
        corrupt(street(), 'frost', 1, seed=0)


def test_frost_does_not_import_the_reference(tmp_path, monkeypatch):
    # the original package's import fails with today's setuptools; only its pictures are needed
    package = tmp_path / 'imagecorruptions'
    (package / 'frost').mkdir(parents=True)
    (package / '__init__.py').write_text('raise ImportError("pkg_resources")')
    for name in ('frost1.png', 'frost2.png', 'frost3.png', 'frost4.jpg', 'frost5.jpg'):
        cv2.imwrite(str(package / 'frost' / name), static(50, 60))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__('sys').modules, 'imagecorruptions', raising=False)
    weather._frost_picture.cache_clear()
    weather._frost_enlarged.cache_clear()
    try:
        assert corrupt(street(), 'frost', 3, seed=0).shape == (96, 128, 3)
        (package / 'frost' / 'frost1.png').write_bytes(b'')
        weather._frost_picture.cache_clear()
        with pytest.raises(ValueError, match=r'cannot read .*frost1.png: pip install'):
            weather._frost_picture(0)
    finally:
        weather._frost_picture.cache_clear()
        weather._frost_enlarged.cache_clear()


def test_frost_draws_the_original_five(reference):
    drawn = set()
    for seed in range(60):
        image = np.zeros((32, 32, 3), np.uint8)
        stream = Stream(seed)
        drawn.add(stream.below(5))
        weather.frost(image, 1, Stream(seed))
    assert drawn == {0, 1, 2, 3, 4}
