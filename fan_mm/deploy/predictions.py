"""Whether a model predicts by the plain scores that a graph gives, as its library's other models do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from mmengine.config import ConfigDict
from mmengine.model import BaseModel
from torch import Tensor

from fan_mm.errors import InputError

if TYPE_CHECKING:
    from fan_mm.deploy.network import Network

TOLERANCE = 1e-3  # of the greatest score; both are float32


@torch.no_grad()
def check_predictions(network: Network) -> None:
    """Compare a network's scores and classes with what the model's own mode 'predict' makes of an image.

    A head may have its own way from scores to predictions; then the graph would be another model.

    Raises:
        InputError: they differ, or the model predicts no classes; one line.
    """
    model: Any = network.model
    if not isinstance(model, BaseModel):
        return
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, network.channels, *network.size, generator=generator)
    try:
        (sample,) = _predicted(model, images)
    except Exception:  # a model that only predicts for its own data samples
        return
    if isinstance(sample, Tensor):  # it knows no modes
        return
    logits = network.logits(images)
    scores = logits.sigmoid() if network.sigmoid else logits
    if network.task == 'segmentation':
        found, labels = _data(sample, 'seg_logits'), _data(sample, 'pred_sem_seg')
        same = labels is not None and bool(
            (labels == network.labels(logits)).float().mean() > 0.999
        )
    else:
        found = getattr(sample, 'pred_score', None)
        scores = scores if network.sigmoid else logits.softmax(1)
        same = found is not None or _is_best(scores[0], getattr(sample, 'pred_label', None))
    if not same or (found is not None and not _equal(scores[0], found)):
        raise InputError(
            f'{type(model).__name__} does not predict classes by the scores that '
            f'{"it" if network.wraps else "its head"} gives alone: a file of them would be another model'
        )


def _predicted(model: Any, images: Tensor) -> list:
    """The model's samples; one that slides a window takes the image as a whole."""
    config = getattr(model, 'test_cfg', None)
    if isinstance(config, dict) and config.get('mode') == 'slide':
        model.test_cfg = ConfigDict(config, mode='whole')
    try:
        return model(images, None, mode='predict')
    finally:
        if config is not None:
            model.test_cfg = config


def _data(sample: Any, name: str) -> Tensor | None:
    return getattr(getattr(sample, name, None), 'data', None)


def _is_best(scores: Tensor, label: Any) -> bool:
    """Whether a label, all that some heads give, is the class of the highest score."""
    return isinstance(label, Tensor) and label.numel() == 1 and int(label) == int(scores.argmax())


def _equal(ours: Tensor, theirs: Tensor) -> bool:
    if ours.shape != theirs.shape:
        return False
    scale = float(theirs.abs().max())
    return torch.allclose(ours, theirs.cpu(), rtol=0, atol=TOLERANCE * scale, equal_nan=True)
