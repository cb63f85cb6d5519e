"""Temperature scaling: one number that all logits are divided by, fitted on images apart.

Guo et al., On Calibration of Modern Neural Networks, ICML 2017, section 4.2. It changes confidence,
never the prediction.
"""

import filecmp
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.runner.amp import autocast
from torch import Tensor
from torch.utils.data import DataLoader

from fan_mm.engine.first_batch.outputs import check_outputs, without_losses
from fan_mm.engine.first_batch.samples import load_samples, one_line
from fan_mm.errors import InputError
from fan_mm.evaluation.calibration.measures import log_of
from fan_mm.evaluation.calibration.merged_scores import predict
from fan_mm.evaluation.calibration.metric import scores_of_map, scores_of_pictures
from fan_mm.evaluation.cell_dataset import batch_size_of

RANGE = (0.001, 1000.0)
VALUES = 2**24  # logits held for a fit, over all classes


@dataclass(frozen=True)
class Temperature:
    """A temperature, and what it was fitted on.

    Attributes:
        value: the temperature.
        pictures: number of images.
        samples: number of pixels, evenly spaced over each image, or of images.
        nll: NLL of these samples in nats, without and with the temperature.
    """

    value: float
    pictures: int
    samples: int
    nll: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), 'nll': list(self.nll)}


class Samples:
    """Logits and labels of some pixels of each image, or of whole images."""

    def __init__(self, pictures: int, ignore_index: int = 255) -> None:
        self.pictures = pictures
        self.ignore_index = ignore_index
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []

    def add(self, outputs: Sequence[Mapping]) -> None:
        """Take the samples of a batch of the model's outputs.

        Raises:
            InputError: they have no probabilities.
        """
        if outputs and 'gt_label' in outputs[0]:
            probabilities, labels = scores_of_pictures(outputs)
            self._keep(log_of(probabilities).T, labels)
            return
        for output in outputs:
            scores, labels, _ = scores_of_map(output)
            labels = labels.reshape(-1).to(scores.device)
            places = (labels != self.ignore_index).nonzero()[:, 0]
            most = max(1, VALUES // (self.pictures * max(2, len(scores))))
            places = places[:: -(-len(places) // most) or 1]
            chosen = scores.reshape(len(scores), -1)[:, places].float()
            if len(scores) == 1:
                chosen = log_of(torch.cat([1 - chosen, chosen]))
            self._keep(chosen, labels[places])

    def _keep(self, logits: Tensor, labels: Tensor) -> None:
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(logits):
            raise InputError(
                f'--fit-temperature: labels are {int(labels.min())} to {int(labels.max())}, but the model '
                f'has {len(logits)} classes'
            )
        self._logits.append(logits.cpu())
        self._labels.append(labels.long().cpu())

    def fit(self) -> Temperature:
        """The temperature with the least NLL, see `fit`.

        Raises:
            InputError: there are no images, or no valid pixels in them.
        """
        if not any(map(len, self._labels)):
            raise InputError('--fit-temperature: there are no images, or they have no valid pixel')
        logits, labels = torch.cat(self._logits, dim=1), torch.cat(self._labels)
        value = fit(logits, labels)
        before, after = (mean_nll(logits, labels, t) for t in (1.0, value))
        return Temperature(value, self.pictures, len(labels), (before, after))


def fit_on_pictures(
    model: BaseModel,
    pictures: Any,
    loader: DataLoader,
    ignore_index: int = 255,
    fp16: bool = False,
) -> Temperature:
    """Fit the temperature of a model; in several processes each does the same.

    Args:
        model: a model with mmengine's ``test_step``; it is set to evaluation mode.
        pictures: dataset of labelled images.
        loader: a loader whose settings are used to make batches.
        ignore_index: label of ignored pixels.
        fp16: predict under autocast.

    Raises:
        InputError: an image cannot be loaded, or the model cannot take one or has no probabilities.
    """
    model.eval()
    samples, size = Samples(len(pictures), ignore_index), batch_size_of(loader)
    for start in range(0, len(pictures), size):
        chosen = range(start, min(start + size, len(pictures)))
        loaded = load_samples(pictures, chosen, '--fit-temperature')
        try:
            with torch.no_grad(), autocast(enabled=fp16):
                outputs = without_losses(predict(model, loader.collate_fn(loaded)))
            check_outputs(outputs)
            samples.add(outputs)
        except InputError:
            raise
        except Exception as error:  # models may raise anything
            raise InputError(
                f'--fit-temperature: the model fails on training images: {one_line(error)}'
            ) from error
    return samples.fit()


def mean_nll(logits: Tensor, labels: Tensor, temperature: float) -> float:
    """Mean of -log p of the labels ``(P,)``, nats, where a temperature divides the logits ``(C, P)``."""
    losses = []
    for part, truth in zip(logits.split(2**16, dim=1), labels.split(2**16), strict=True):
        scaled = part.double() / temperature
        losses.append((scaled.logsumexp(0) - scaled.gather(0, truth[None])[0]).sum())
    return float(sum(losses)) / len(labels)


def fit(logits: Tensor, labels: Tensor) -> float:
    """The temperature within `RANGE` with the least `mean_nll`, which has one minimum only.

    Raises:
        InputError: it is a bound of the range.
    """
    from scipy.optimize import minimize_scalar  # imported late, as it is slow

    found = minimize_scalar(
        lambda log_t: mean_nll(logits, labels, math.exp(log_t)),
        bounds=tuple(map(math.log, RANGE)),
        method='bounded',
        options=dict(xatol=1e-5),
    )
    value = math.exp(found.x)
    if not RANGE[0] * 1.01 < value < RANGE[1] * 0.99:
        why = (
            'the model is right nearly everywhere on them'
            if value < 1
            else 'the model is hardly better than chance on them'
        )
        raise InputError(
            f'--fit-temperature: no temperature between {RANGE[0]:g} and {RANGE[1]:g} is optimal ({why}): '
            'use other or more images, or leave the option out'
        )
    return value


def check_apart(fitted_on: Iterable[str], evaluated: Iterable[str]) -> None:
    """Check that no image that a temperature is fitted on is evaluated, also under another name.

    Args:
        fitted_on: paths of the images to fit on.
        evaluated: paths of the images to evaluate; paths on a remote backend are compared by name only.

    Raises:
        InputError: one is.
    """
    paths, by_size = set(), defaultdict(list)
    for path in evaluated:
        paths.add(os.path.realpath(path))
        if os.path.isfile(path):
            by_size[os.path.getsize(path)].append(path)
    for path in fitted_on:
        same = os.path.realpath(path) in paths or (
            os.path.isfile(path)
            and any(filecmp.cmp(path, p, shallow=False) for p in by_size[os.path.getsize(path)])
        )
        if same:
            raise InputError(
                f'--fit-temperature: {path} is an image of the evaluated split: fit on others'
            )
