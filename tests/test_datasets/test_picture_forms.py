import numpy as np
import pytest
import torch
from PIL import Image

from fan_mm.datasets.transforms.picture_forms import in_form_of, pixels_of
from fan_mm.errors import InputError

COLOURS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


@pytest.mark.parametrize(
    ('picture', 'shape'),
    [
        (COLOURS, (2, 3, 3)),
        (COLOURS[..., 0], (2, 3)),
        (COLOURS[..., :1].astype(np.float32), (2, 3, 1)),
        (torch.from_numpy(COLOURS).permute(2, 0, 1), (2, 3, 3)),
        (torch.from_numpy(COLOURS[None, ..., 0]), (2, 3, 1)),
        (torch.from_numpy(COLOURS[..., 0]), (2, 3)),
        (Image.fromarray(COLOURS), (2, 3, 3)),
        (Image.fromarray(COLOURS[..., 0]), (2, 3)),
        (Image.fromarray(COLOURS).convert('RGBA'), (2, 3, 4)),
    ],
)
def test_there_and_back(picture, shape):
    pixels = pixels_of(picture)
    assert pixels.shape == shape
    back = in_form_of(picture, pixels + pixels.dtype.type(1))
    assert type(back) is type(picture)
    np.testing.assert_array_equal(pixels_of(back), pixels + 1)
    if isinstance(picture, Image.Image):
        assert back.mode == picture.mode
    else:
        assert back.dtype == picture.dtype and back.shape == picture.shape


@pytest.mark.parametrize(
    ('picture', 'message'),
    [
        (Image.new('P', (3, 2)), 'mode P'),
        (Image.new('I;16', (3, 2)), 'mode I;16'),
        (Image.new('CMYK', (3, 2)), 'mode CMYK'),
        (np.zeros((2, 3, 4)), r'shape \(2, 3, 4\)'),
        (torch.zeros(2, 3, 4, 5), r'shape \(2, 3, 4, 5\)'),
        ([COLOURS], 'is a list'),
        (None, 'is a NoneType'),
    ],
)
def test_other_forms_are_refused_in_one_line(picture, message):
    with pytest.raises(InputError, match=message) as error:
        pixels_of(picture)
    assert '\n' not in str(error.value)
