r"""How tokens group and how input noise decays from block to block (FAN paper, section 2.2, Figure 3).

Two numbers per block and image, both independent of the scale of the features:

- insignificant eigenvalues: eigenvalues of the affinity :math:`S` of `fan_mm.analysis.clustering`
  up to :math:`\epsilon \lambda_1`. The more there are, the fewer groups the tokens form. The paper
  gives no value for its threshold; ours is `EPSILON`.
- perturbation: :math:`\|Z(x + n) - Z(x)\| / \|Z(x)\|` (Frobenius norms) of the block's tokens
  :math:`Z`, with Gaussian noise :math:`n` on the normalised input :math:`x`, of standard deviation 1
  as in the paper.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fan_mm.analysis.clustering import normalise_tokens
from fan_mm.analysis.features import block_names, record_tokens
from fan_mm.analysis.subject import Subject, distinct, picture_name
from fan_mm.corruptions import image_key, seed_for
from fan_mm.errors import InputError
from fan_mm.fileio import write_whole
from fan_mm.report import colours, tables
from fan_mm.report.figures import WIDTH, legend_of_models, new_figure, save, style

EPSILON = 1e-3  # of the largest eigenvalue
INPUT = 'input'


@dataclass(frozen=True)
class Measurement:
    """One block for one image; depth 0 is the input itself.

    Attributes:
        model: name.
        block: module name, or 'input'.
        depth: relative depth, the fraction of blocks passed, 0 to 1.
        image: key of the image.
        tokens: N.
        channels: C.
        insignificant: eigenvalues not above epsilon times the largest; None for the input.
        perturbation: relative to the norm of the features.
    """

    model: str
    block: str
    depth: float
    image: str
    tokens: int
    channels: int
    insignificant: int | None
    perturbation: float


def insignificant_eigenvalues(tokens: np.ndarray, epsilon: float = EPSILON) -> int:
    """Number of eigenvalues of the affinity of tokens (N, C) that are not above epsilon * largest.

    The eigenvalues are the squared singular values of the normalised tokens, and N - C zeros if N > C.
    """
    z = normalise_tokens(tokens)
    gram = z.T @ z if z.shape[0] > z.shape[1] else z @ z.T
    eigenvalues = np.linalg.eigvalsh(gram)
    return len(z) - int((eigenvalues > epsilon * eigenvalues[-1]).sum())


def relative_perturbation(noisy: torch.Tensor, clean: torch.Tensor) -> float:
    """Norm of the difference relative to the norm of the clean features."""
    noisy, clean = noisy.double(), clean.double()
    return ((noisy - clean).norm() / clean.norm()).item()


def measure(
    subject: Subject,
    pictures: dict[Path, np.ndarray],
    noise_std: float = 1.0,
    epsilon: float = EPSILON,
    seed: int = 0,
) -> Iterator[Measurement]:
    """Measure every block of a network for every image.

    Args:
        subject: the network.
        pictures: file -> uint8 RGB image, all of the same size.
        noise_std: standard deviation of the noise on the normalised input.
        epsilon: threshold of the eigenvalues, relative to the largest.
        seed: seed of the noise; an image gets the same noise for every network.

    Raises:
        InputError: noise or threshold out of range.
    """
    if not 0 < noise_std < math.inf:
        raise InputError(f'the noise needs a standard deviation above 0, not {noise_std}')
    if not 0 <= epsilon < 1:
        raise InputError(
            f'epsilon must be a share of the largest eigenvalue, from 0 to 1, not {epsilon}'
        )
    names = block_names(subject.backbone)
    keys = distinct(map(picture_name, pictures))
    for key, (path, picture) in zip(keys, pictures.items(), strict=True):
        clean = subject.prepare(picture)
        noise_seed = seed_for(seed, image_key(path), 'gaussian_noise', 1) % 2**63
        stream = torch.Generator().manual_seed(noise_seed)
        noise = torch.randn(clean.shape, generator=stream).to(clean)
        features = []
        for inputs in (clean, clean + noise_std * noise):
            with record_tokens(subject.backbone, names) as tokens:
                subject(inputs)
            features.append(tokens)
        perturbation = relative_perturbation(clean + noise_std * noise, clean)
        size = clean.shape[2] * clean.shape[3]
        yield Measurement(subject.name, INPUT, 0.0, key, size, 3, None, perturbation)
        for i, name in enumerate(names):
            values = features[0][name].values[0]
            count, channels = values.shape
            yield Measurement(
                subject.name,
                name,
                (i + 1) / len(names),
                key,
                count,
                channels,
                insignificant_eigenvalues(values.cpu().numpy(), epsilon),
                relative_perturbation(features[1][name].values[0], values),
            )


def draw(measurements: Sequence[Measurement], epsilon: float = EPSILON) -> Figure:
    """Both curves of every model by depth: means over images, bands of one standard deviation."""
    with style():
        figure = new_figure(WIDTH, 2.8)
        groups, noise = figure.subplots(1, 2)
        models = list(dict.fromkeys(m.model for m in measurements))
        for i, model in enumerate(models):
            own = [m for m in measurements if m.model == model]
            colour, marker = colours.series(i)
            look = dict(color=colour, marker=marker)
            shares = [
                (m.depth, m.insignificant / m.tokens) for m in own if m.insignificant is not None
            ]
            _curve(groups, shares, look)
            _curve(noise, [(m.depth, m.perturbation) for m in own], look)
        groups.set(
            title='grouping',
            ylabel=f'eigenvalues up to {epsilon:g} of the largest',
            ylim=(0, 1.03),
        )
        groups.yaxis.set_major_formatter(lambda value, _: f'{value:.0%}')
        noise.set(title='decay of input noise', ylabel='perturbation norm / feature norm')
        noise.set_ylim(bottom=0)
        for axes in (groups, noise):
            axes.set(xlabel='depth (fraction of blocks)', xlim=(-0.02, 1.02))
        legend_of_models(figure, models, above=False)
    return figure


def _curve(axes: Axes, points: Sequence[tuple[float, float]], look: dict) -> None:
    depths = sorted({depth for depth, _ in points})
    values = [np.array([value for d, value in points if d == depth]) for depth in depths]
    mean, spread = np.array([(v.mean(), v.std()) for v in values]).T
    axes.plot(depths, mean, **look)
    axes.fill_between(
        depths, np.maximum(mean - spread, 0), mean + spread, color=look['color'], alpha=0.18, lw=0
    )


def as_csv(measurements: Sequence[Measurement]) -> str:
    """One row per model, block and image."""
    return tables.as_csv([f.name for f in fields(Measurement)], map(astuple, measurements))


def write_noise_decay(
    measurements: Sequence[Measurement], out: str | Path, epsilon: float = EPSILON
) -> list[Path]:
    """Write ``noise_decay.csv``, ``.png`` and ``.pdf`` into a folder; returns their paths."""
    table = Path(out) / 'noise_decay.csv'
    write_whole(table, as_csv(measurements))
    return [table, *save(draw(measurements, epsilon), table.with_suffix(''))]
