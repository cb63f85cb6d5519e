"""Functions that torch.func transforms: a batch of single images, and the gradients of each image."""

import pytest
import torch
from test_compile import make
from torch.func import functional_call, grad, vmap

NAMES = ['vit', 'vit-pooled', 'hybrid', 'swin', 'convnext']


@pytest.mark.parametrize('name', NAMES)
def test_vmap_in_inference(name):
    model, images = make(name).eval(), torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        found = vmap(lambda image: model(image[None]))(images)
        for each, expected in zip(found, model(images), strict=True):
            torch.testing.assert_close(each.squeeze(1), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('name', NAMES)
def test_gradients_of_each_image(name):
    model, images = make(name).eval(), torch.randn(2, 3, 32, 48)

    def loss(parameters, image):
        return sum(x.square().mean() for x in functional_call(model, parameters, (image[None],)))

    parameters = dict(model.named_parameters())
    found = vmap(grad(loss), in_dims=(None, 0))(parameters, images)
    expected = torch.autograd.grad(loss(parameters, images[1]), list(parameters.values()))
    for each, gradient in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(each[1], gradient, atol=1e-4, rtol=1e-3)
