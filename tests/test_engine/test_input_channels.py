"""How many channels a model's images have, which decides what is exported and counted."""

import pytest
import torch
from mmengine.model import ImgDataPreprocessor
from torch import nn

from fan_mm.engine.input_channels import input_channels


class FourAtATime(nn.Module):
    """The stem of YOLOX."""

    def __init__(self, channels):
        super().__init__()
        self.stem = nn.Conv2d(4 * channels, 8, 3)

    def forward(self, images):
        return self.stem(nn.functional.pixel_unshuffle(images, 2))


class Later(nn.Module):
    """The convolution that comes first is not the one that was made first."""

    def __init__(self):
        super().__init__()
        self.last, self.stem = nn.Conv2d(8, 2, 1), nn.Conv2d(5, 8, 3)

    def forward(self, images):
        return self.last(self.stem(images))


def with_mean(model, *mean):
    model.data_preprocessor = ImgDataPreprocessor()
    model.data_preprocessor.register_buffer('mean', torch.tensor(mean).view(-1, 1, 1))
    return model


@pytest.mark.parametrize(
    ('model', 'channels'),
    [
        (nn.Conv2d(3, 8, 3), 3),
        (nn.Conv2d(1, 8, 3), 1),
        (nn.Conv2d(4, 8, 3), 4),
        (with_mean(nn.Sequential(nn.Conv2d(1, 8, 3)), 33.0), 1),  # of MNIST
        (with_mean(nn.Sequential(nn.Conv2d(4, 8, 3)), 1.0, 2.0, 3.0, 4.0), 4),
        (with_mean(FourAtATime(4), 1.0, 2.0, 3.0, 4.0), 4),
        (FourAtATime(3), 3),
        (Later(), 5),
        (nn.Flatten(), 3),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), 3),  # takes nothing
        (nn.Sequential(nn.Conv2d(1, 8, 99)), 1),  # nor does this, for the size alone
    ],
)
def test_channels(model, channels):
    assert input_channels(model, model, (8, 8)) == channels
