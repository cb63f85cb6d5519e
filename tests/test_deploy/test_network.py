"""What type a network's labels have."""

import pytest
import torch
from plain_networks import Plain

from fan_mm.deploy import Network


class Scores(torch.nn.Module):
    """As many scores for each pixel as are asked for."""

    def __init__(self, classes):
        super().__init__()
        self.layer = torch.nn.Conv2d(4, classes, 1)

    def forward(self, features):
        return self.layer(features[0])


@pytest.mark.parametrize(('classes', 'dtype'), [(256, torch.uint8), (257, torch.int64)])
def test_labels_of_pixels_are_bytes_where_these_hold_them(classes, dtype):
    network = Network(Plain(Scores(classes)), 'segmentation', output='labels', size=(8, 8))
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        labels = network(images)
        assert labels.dtype == dtype and labels.shape == (2, 8, 8)
        assert torch.equal(labels.long(), network.logits(images).argmax(1))
