"""What type a network's labels have, and which of a model's own modules are replaced."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.model import ImgDataPreprocessor
from plain_networks import Plain

from fan_mm.deploy import Network


class Scores(torch.nn.Module):
    """As many scores for each pixel as are asked for."""

    def __init__(self, classes, stride=1):
        super().__init__()
        self.layer = torch.nn.Conv2d(4, classes, 1, stride)

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


@pytest.mark.parametrize('align_corners', [None, False, True])
def test_scores_are_enlarged_as_the_head_has_it(align_corners):
    model = Plain(Scores(3, stride=4))
    if align_corners is not None:
        model.decode_head.align_corners = align_corners
    network, images = Network(model, 'segmentation', size=(16, 16)), torch.randn(1, 3, 16, 24)
    with torch.no_grad():
        small, found = model.decode_head(model.extract_feat(images)), network(images)
    assert small.shape == (1, 3, 4, 6) and found.shape == (1, 3, 16, 24)
    assert torch.allclose(found[..., 0, 0], small[..., 0, 0], atol=1e-6)
    if align_corners:  # every fifth pixel is one of the scores'
        torch.testing.assert_close(found[0, :, ::5, -1], small[0, ..., -1])
    else:
        expected = cv2.resize(small[0].permute(1, 2, 0).numpy(), (24, 16))
        np.testing.assert_allclose(found[0].permute(1, 2, 0), expected, atol=1e-5)


@pytest.mark.parametrize('output', ['logits', 'probabilities', 'labels'])
def test_a_picture_is_normalised_as_the_preprocessor_does(output):
    torch.manual_seed(0)
    model = Plain(Scores(3))
    mean, std = [123.7, 116.3, 103.5], [58.4, 57.1, 57.4]
    model.data_preprocessor = ImgDataPreprocessor(mean=mean, std=std, bgr_to_rgb=True)
    network = Network(model, 'segmentation', output, preprocessing=True, size=(8, 8))
    picture = network.example(2, 8, 12)
    assert picture.dtype == torch.uint8 and picture.shape == (2, 8, 12, 3)
    assert not torch.equal(picture, network.example(2, 8, 12, seed=1))
    bgr = list(picture.permute(0, 3, 1, 2).flip(1))
    with torch.no_grad():
        found = network(picture)
        images = model.data_preprocessor({'inputs': bgr})['inputs']
        scores = model.decode_head(model.extract_feat(images))
    expected = {'logits': scores, 'probabilities': scores.softmax(1), 'labels': scores.argmax(1)}
    torch.testing.assert_close(found, expected[output].to(found.dtype))


@pytest.mark.parametrize(('threshold', 'least'), [(None, 0.3), (0.6, 0.6), (0.0, 0.0)])
def test_one_score_stands_for_two_classes(threshold, least):
    torch.manual_seed(0)
    model = Plain(Scores(1))
    model.decode_head.threshold = threshold
    images = 9 * torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = {}
    for output in ('logits', 'probabilities', 'labels'):
        network = Network(model, 'segmentation', output, size=(16, 16))
        with torch.no_grad():
            found[output] = network(images)
    chance = 1 / (1 + np.exp(-found['logits'].numpy()))
    np.testing.assert_allclose(found['probabilities'], chance, atol=1e-6)
    assert np.array_equal(found['labels'], chance[:, 0] > least)
    assert least == 0 or chance.min() < 0.3 < 0.6 < chance.max()
