"""Eigenvalue counts and perturbation norms against numpy; the table and the figure of them."""

import csv
import io

import numpy as np
import pytest
import torch
from reference.clustering import affinity
from torch import nn

from fan_mm.analysis.noise_decay import (
    INPUT,
    Measurement,
    as_csv,
    draw,
    insignificant_eigenvalues,
    measure,
    relative_perturbation,
)
from fan_mm.errors import InputError


@pytest.mark.parametrize('shape', [(12, 5), (6, 20), (9, 9)])
@pytest.mark.parametrize('epsilon', [1e-3, 1e-1])
def test_eigenvalues_are_counted_as_numpy_counts_them(shape, epsilon):
    tokens = np.random.default_rng(0).normal(0, 2, shape)
    eigenvalues = np.linalg.eigvalsh(affinity(tokens))
    expected = int((eigenvalues <= epsilon * eigenvalues.max()).sum())
    assert insignificant_eigenvalues(tokens, epsilon) == expected
    assert 0 < expected < shape[0] or epsilon == 1e-3


def test_tokens_of_k_kinds_have_k_significant_eigenvalues():
    centres = np.random.default_rng(1).normal(0, 3, (4, 32))
    tokens = np.repeat(centres, 10, axis=0)
    assert insignificant_eigenvalues(tokens, 1e-9) == 36


def test_relative_perturbation():
    clean = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
    noisy = clean + torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    assert relative_perturbation(noisy, clean) == pytest.approx(0.2)
    expected = np.linalg.norm(noisy.numpy() - clean.numpy()) / np.linalg.norm(clean.numpy())
    assert relative_perturbation(noisy, clean) == pytest.approx(expected)


class Blocks(nn.Module):
    """Two blocks that do to a map what can be worked out by hand."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.AvgPool2d(8), nn.Identity()])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class HandMade:
    """Stands in for a `Subject`: grey levels become themselves divided by 64."""

    name = 'hand-made'

    def __init__(self):
        self.backbone = Blocks()

    def prepare(self, image):
        return torch.from_numpy(image.transpose(2, 0, 1)[None] / 64).float()

    def __call__(self, inputs):
        self.backbone(inputs)


def test_measurements_of_a_network_worked_out_by_hand():
    rng = np.random.default_rng(0)
    files = ('x/a/1.png', 'y/a/1.png')
    pictures = {file: rng.integers(0, 256, (32, 64, 3), np.uint8) for file in files}
    rows = list(measure(HandMade(), pictures, noise_std=0.5, epsilon=1e-2))
    assert [r.block for r in rows] == ['input', 'blocks.0', 'blocks.1'] * 2
    assert [r.depth for r in rows[:3]] == [0, 0.5, 1]
    assert [r.image for r in rows[::3]] == ['a/1', 'a/1_2']
    first, pooled, same = rows[:3]
    level = np.sqrt(np.mean(np.square(pictures[files[0]] / 64)))
    assert first.perturbation == pytest.approx(0.5 / level, rel=0.05)
    # means of 64 pixels: the noise is 8 times smaller, the level nearly the same
    mean = np.sqrt(np.mean(np.square(pictures[files[0]].reshape(4, 8, 8, 8, 3).mean((1, 3)) / 64)))
    assert pooled.perturbation == pytest.approx(0.5 / 8 / mean, rel=0.15)
    assert (first.tokens, first.channels, first.insignificant) == (32 * 64, 3, None)
    assert (pooled.tokens, pooled.channels) == (32, 3)
    assert pooled.insignificant == same.insignificant
    assert 29 <= pooled.insignificant <= 31  # three channels
    assert rows == list(measure(HandMade(), pictures, noise_std=0.5, epsilon=1e-2))
    other = list(measure(HandMade(), pictures, noise_std=0.5, epsilon=1e-2, seed=1))
    assert other[1].perturbation != rows[1].perturbation


def measurements():
    return [
        Measurement(
            model, f'blocks.{i}', (i + 1) / 4, f'town/{image}', 100, 8, 10 * i + image, by / (1 + i)
        )
        for model, by in (('ViT', 1), ('FAN', 2))
        for image in range(3)
        for i in range(4)
    ]


def test_the_csv_has_a_row_for_each_block_and_image():
    rows = list(csv.DictReader(io.StringIO(as_csv(measurements()))))
    assert len(rows) == 24
    assert rows[5]['block'] == 'blocks.1'
    assert rows[5]['image'] == 'town/1'
    assert rows[5]['insignificant'] == '11'
    assert float(rows[5]['perturbation']) == 0.5


def test_the_figure_shows_means_and_spread():
    figure = draw(measurements())
    groups, noise = figure.axes
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ['ViT', 'FAN']
    assert len(groups.lines) == len(noise.lines) == 2
    np.testing.assert_allclose(groups.lines[0].get_ydata(), [0.01, 0.11, 0.21, 0.31])
    for line, by in zip(noise.lines, (1, 2), strict=True):
        np.testing.assert_allclose(line.get_xdata(), [0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(line.get_ydata(), [by, by / 2, by / 3, by / 4])
    assert noise.get_ylim()[0] == 0 and noise.get_ylim()[1] > 2
    band = groups.collections[0].get_paths()[0].vertices[:, 1]
    assert band.max() == pytest.approx(0.31 + np.std([0, 0.01, 0.02]))
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) > -0.01


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(noise_std=float('nan')), 'standard deviation above 0, not nan'),
        (dict(noise_std=float('inf')), 'standard deviation above 0, not inf'),
        (dict(noise_std=-0.5), 'standard deviation above 0, not -0.5'),
        (dict(noise_std=0.0), 'standard deviation above 0, not 0.0'),
        (
            dict(epsilon=-1.0),
            'epsilon must be a share of the largest eigenvalue, from 0 to 1, not -1.0',
        ),
        (dict(epsilon=float('nan')), 'epsilon must be a share .* not nan'),
        (dict(epsilon=1.0), 'epsilon must be a share'),
        (dict(epsilon=1.5), 'epsilon must be a share'),
    ],
)
def test_nonsense_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        next(measure(None, {}, **options))


def test_long_names_of_models_are_inside_the_figure():
    names = [
        f'{n}-patch4-window12-in22k-384x384-pre_upernet_8xb2-160k_ade20k-512x512' for n in 'abc'
    ]
    found = [Measurement(n, INPUT, d, 'a', 4, 3, 1, 0.5) for n in names for d in (0.0, 1.0)]
    figure = draw(found)
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0, width - drawn.x1, height - drawn.y1) > -0.01
