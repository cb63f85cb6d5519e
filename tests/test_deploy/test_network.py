"""What type a network's labels have, and which of a model's own modules are replaced."""

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


@pytest.mark.parametrize(('factor', 'replaced'), [(2.0, True), (1.5, False)])
def test_enlarging_by_a_whole_factor_leaves_sizes_open(factor, replaced):
    Upsample = pytest.importorskip('mmseg.models.utils').Upsample

    def model():
        torch.manual_seed(0)
        enlarges = Upsample(scale_factor=factor, mode='bilinear', align_corners=False)
        return Plain(torch.nn.Sequential(Scores(3), enlarges))

    network = Network(model(), 'segmentation', size=(8, 8))
    (_, enlarges) = network.model.decode_head
    assert (type(enlarges) is not Upsample) == replaced
    maps = (torch.randn(1, 4, 7, 9),)
    torch.testing.assert_close(network.model.decode_head(maps), model().decode_head(maps))
