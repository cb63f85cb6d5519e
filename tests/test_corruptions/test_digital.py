import numpy as np
import pytest
from corruption_pictures import Fixed, difference, static, street
from scipy import ndimage

from fan_mm.corruptions import corrupt, digital

SEVERITIES = (1, 2, 3, 4, 5)
SIZES = [(96, 128), (32, 32), (33, 150), (131, 47), (224, 224)]


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('name', ['contrast', 'pixelate', 'jpeg_compression', 'saturate'])
@pytest.mark.parametrize('size', SIZES)
def test_within_one_level_of_the_reference(name, severity, size):
    reference = pytest.importorskip('imagecorruptions')
    for image in (street(*size), static(*size)):
        image[:3] = 77  # grey has no hue
        ours = corrupt(image, name, severity, seed=0)
        assert difference(ours, reference.corrupt(image, severity, name)).max() <= 1


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('size', [(96, 128), (32, 32), (131, 47)])
def test_elastic_with_the_same_noise(severity, size, monkeypatch):
    reference = pytest.importorskip('imagecorruptions')
    rng = np.random.default_rng(severity)
    noise = [rng.uniform(-1, 1, size) for _ in range(2)]
    drawn = iter(noise)
    monkeypatch.setattr(np.random, 'uniform', lambda low, high, size: high * next(drawn))
    image = street(*size)
    ours = digital.elastic_transform(image, severity, Fixed(symmetric=noise))
    delta = difference(ours, reference.corrupt(image, severity, 'elastic_transform'))
    # OpenCV looks pixels up at 1/32 of a pixel: up to 1/64 of the local contrast per axis
    contrast = ndimage.maximum_filter(image, (5, 5, 1)).astype(int)
    contrast -= ndimage.minimum_filter(image, (5, 5, 1))
    far = int(np.ceil(max(delta.shape))) // 8 + 5
    contrast = ndimage.maximum_filter(contrast, (far, far, 1))
    assert (delta <= 2 + contrast / 32).all()
    assert (delta <= 1).mean() > 0.9


def response(side, cell_axis):
    """The linear map from noise to field along one axis, by columns."""
    other = 40  # small enough for cells of one pixel
    shape = (side, other) if cell_axis == 0 else (other, side)
    probe = _Probe()
    digital._smooth_field(shape, 1.0, probe)
    cells, columns = probe.shape[cell_axis], []
    for i in range(cells):
        impulse = np.zeros(probe.shape)
        impulse[(i, slice(None)) if cell_axis == 0 else (slice(None), i)] = 1
        field = digital._smooth_field(shape, 1.0, Fixed(symmetric=[impulse]))
        columns.append(field[:, 20] if cell_axis == 0 else field[20])
    return np.array(columns, np.float64).T, side // cells


class _Probe:
    def symmetric(self, shape, bound):
        self.shape = shape
        return np.zeros(shape, np.float32)


@pytest.mark.parametrize('axis', [0, 1])
@pytest.mark.parametrize('side', [224, 480, 640, 1000])
def test_coarse_noise_has_the_references_covariance(side, axis):
    ours, cell = response(side, axis)
    assert cell == {224: 1, 480: 1, 640: 2, 1000: 4}[side]
    exact = ndimage.gaussian_filter1d(np.eye(side), 0.01 * side, axis=0, mode='reflect', truncate=3)
    ours, exact = ours @ ours.T, exact @ exact.T
    assert np.abs(ours - exact).max() < 0.02 * exact.max()
    middle = side // 2
    assert ours[middle, middle] == pytest.approx(exact[middle, middle], rel=0.01)


@pytest.mark.parametrize('severity', SEVERITIES)
def test_contrast_table_is_exact(severity):
    image = street()
    image[..., 1] //= 3  # channels with different means
    c = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    mean = image.astype(np.float64).mean((0, 1))
    exact = np.floor((image - mean) * c + mean + 1e-9)
    assert (corrupt(image, 'contrast', severity, seed=0) == exact).all()
