"""The clean score of a few images, as they are and with red and blue swapped."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from mmengine.runner.amp import autocast
from torch import Tensor, nn
from torch.utils.data import DataLoader

from fan_mm.engine.evaluators import collectors, left_as_it_was
from fan_mm.engine.first_batch.outputs import without_losses
from fan_mm.engine.first_batch.samples import load_samples, one_line
from fan_mm.errors import InputError
from fan_mm.evaluation.bootstrap import LEVEL, PerImage, interval
from fan_mm.evaluation.cell_dataset import batch_size_of
from fan_mm.evaluation.collected import Scores
from fan_mm.evaluation.scores import compute_scores
from fan_mm.logs import warn

_PLAIN, _EXCHANGED = ('plain', 0), ('exchanged', 0)
_UPPER = (1 + LEVEL) / 2
FEWEST = 2  # a single image has no interval
ONE_PROVES_NOTHING = 'one image with red and blue swapped proves nothing: give 2 or more'


@torch.no_grad()
def exchanged_colours(
    model: nn.Module,
    load: Callable[[], Sequence[Any]],
    evaluator: Evaluator,
    image_ids: Sequence[Any],
    fp16: bool = False,
) -> dict[str, Any]:
    """Score a few clean images twice.

    Args:
        model: with mmengine's ``test_step``.
        load: returns the clean batches; each call starts from the first one.
        evaluator: with its dataset_meta set; it is not changed.
        image_ids: ids of the images, in order.
        fp16: evaluate under autocast.

    Returns:
        'images', their number; 'plain' and 'exchanged', the headline scores; 'interval', that of their
        difference.

    Raises:
        InputError: there are fewer than `FEWEST`, or they have no three colours.
    """
    if len(image_ids) < FEWEST:
        raise InputError(ONE_PROVES_NOTHING)
    plain = _scores(model, load(), evaluator, image_ids, fp16)
    other = [{**batch, 'inputs': _exchanged(batch['inputs'])} for batch in load()]
    exchanged = _scores(model, other, evaluator, image_ids, fp16)
    bounds = None
    one, two = plain.statistics, exchanged.statistics
    if (
        plain.kind is not None
        and plain.kind == exchanged.kind
        and one is not None
        and two is not None
    ):
        both = {_PLAIN: one, _EXCHANGED: two}
        draws = PerImage(plain.kind, np.arange(len(image_ids)), both).resampled()
        bounds = _of_few(draws[_EXCHANGED] - draws[_PLAIN], len(image_ids))
    return {
        'images': len(image_ids),
        'plain': plain.metrics[plain.headline],
        'exchanged': exchanged.metrics[plain.headline],
        'interval': bounds,
    }


def exchanged_in_some(
    places: Sequence[int],
    *,
    model: nn.Module,
    dataset: Any,
    loader: DataLoader,
    evaluator: Evaluator,
    image_ids: Sequence[Any],
    fp16: bool,
) -> dict[str, Any] | None:
    """`exchanged_colours` of some images of a dataset; None, and a line in the log, where it fails."""
    size, collate = batch_size_of(loader), loader.collate_fn

    def load() -> list[Any]:
        groups = [places[i : i + size] for i in range(0, len(places), size)]
        return [collate(load_samples(dataset, group, 'the loader')) for group in groups]

    try:
        return exchanged_colours(model, load, evaluator, image_ids, fp16)
    except Exception as error:  # metrics may raise anything on a few images
        warn(f'--audit-colours: {one_line(error)}')
        return None


def _of_few(draws: np.ndarray, images: int) -> list[float] | None:
    """The interval of resampled differences, widened for the small number of images.

    Resamples without an object have no score. With only a few images, bootstrap intervals are too
    narrow, so they are widened according to Student's t distribution.
    """
    from scipy.special import ndtri, stdtrit  # imported late, as it is slow

    draws = draws[~np.isnan(draws)]
    if not draws.size:
        return None
    centre, bounds = draws.mean(), np.array(interval(draws))
    wider = float(stdtrit(images - 1, _UPPER) / ndtri(_UPPER) * np.sqrt(images / (images - 1)))
    return (centre + wider * (bounds - centre)).tolist()


def _scores(
    model: BaseModel,
    batches: Sequence[Any],
    evaluator: Evaluator,
    image_ids: Sequence[Any],
    fp16: bool,
) -> Scores:
    with left_as_it_was(evaluator):
        for batch in batches:
            with autocast(enabled=fp16):
                outputs = without_losses(model.test_step(batch))
            evaluator.process(data_samples=outputs, data_batch=batch)
        holders = [m for metric in evaluator.metrics for m in collectors(metric)]
        return compute_scores(evaluator, [list(h.results) for h in holders], image_ids)


def _exchanged(inputs: Any) -> Any:
    """Inputs with the first and the last of three channels swapped, in any container."""
    if isinstance(inputs, Tensor) and inputs.ndim > 2 and inputs.shape[-3] == 3:
        return inputs.flip(-3)
    if isinstance(inputs, list | tuple):
        return type(inputs)(_exchanged(part) for part in inputs)
    raise InputError('the inputs of the model are not three-channel images')
