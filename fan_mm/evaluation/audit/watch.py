"""Observations of one rank in a cell: a few hundred numbers, from few pixels of each image.

For every image, a checksum of about a thousand pixels of the model's input and one of its predicted
scores; for labels and predictions, counts per class over at most `PIXELS` pixels. This costs a few
tenths of a millisecond per image, and the merged result does not depend on the number of ranks.
"""

import contextlib
import logging
import math
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from fan_mm.evaluation.audit.evidence import IGNORED, Seen
from fan_mm.evaluation.audit.model_watch import ModelWatch

PIXELS = 2**14  # of a label map
_SIDE = 32  # pixels along an image's shorter side that enter its checksum
_SURE = 0.3  # minimum score of a detection
_OVERLAP = 0.5  # minimum IoU of a detection with the object that it is assigned to


class Watch:
    """Collects the observations of one cell on one rank.

    Inputs, predictions and labels of an unknown form are skipped; they never make a cell fail.

    Args:
        model: the model that is evaluated.
        clean: whether it is the clean cell, for which more is recorded.
        ignored: ignored value of label maps.
    """

    def __init__(self, model: nn.Module, clean: bool, ignored: int | None = 255) -> None:
        self.clean = clean
        self.ignored = ignored
        self.seen: Seen | None = Seen()
        self.model: ModelWatch | None = None
        try:
            self.model = ModelWatch(model, clean)
        except Exception as error:  # parameters on the meta device, or sharded
            self._give_up(error)

    def end(self) -> Seen | None:
        """What was seen; None if something could not be looked at."""
        found = self.model.end() if self.model else {}
        if self.seen:
            self.seen.model = found
        return self.seen

    def _give_up(self, error: Exception) -> None:
        self.seen = None
        text = f'the audit cannot check this: {type(error).__name__}: {error}'
        print_log(text, 'current', logging.INFO)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time of a block as waiting for the loader."""
        start = time.monotonic()
        yield
        if self.seen:
            self.seen.waited += time.monotonic() - start

    def take(self, positions: Sequence[int], batch: Any, outputs: Any) -> None:
        """Look at a batch."""
        if self.seen is None:
            return
        try:
            self._take_pictures(self.seen, positions, batch)
            self._take_scores(self.seen, positions, outputs)
            for sample in outputs:
                self._take_classes(self.seen, sample)
        except Exception as error:  # user-defined inputs and outputs can have any form
            self._give_up(error)

    def _take_pictures(self, seen: Seen, positions: Sequence[int], batch: Any) -> None:
        inputs = batch.get('inputs') if isinstance(batch, Mapping) else None
        if inputs is None:
            return
        pictures = list(inputs)
        if len(pictures) != len(positions) or not all(isinstance(p, Tensor) for p in pictures):
            pictures = _several_forms(pictures, len(positions))
        for position, picture in zip(positions[: len(pictures)], pictures, strict=True):
            few = picture
            if picture.ndim > 1:
                step = max(1, min(picture.shape[-2:]) // _SIDE)
                few = picture[..., ::step, ::step]
            few = _on_cpu([few])[0]
            seen.pictures[position] = _checksum(few)
            seen.blank += bool(few.size) and bool(few.min() == few.max())

    def _take_scores(self, seen: Seen, positions: Sequence[int], outputs: Sequence[Any]) -> None:
        found = [scores for s in outputs if (scores := _scores_of(s)) is not None]
        if len(found) < len(outputs) or len(found) != len(positions):
            return
        for position, array in zip(positions, _on_cpu(found), strict=True):
            seen.scores[position] = _checksum(array)
            seen.empty &= not array.size

    def _take_classes(self, seen: Seen, sample: Any) -> None:
        found = (
            _of_pixels(sample, self.ignored)
            or _of_picture(sample)
            or _of_objects(sample, self.clean)
        )
        if found is None:
            return
        truth, predicted = found
        if truth is None:
            _count(seen.predicted, predicted)
        elif self.clean:
            _count_pairs(seen.pairs, truth, predicted)
        else:
            _count(seen.predicted, predicted[truth != IGNORED])


def _several_forms(inputs: list, number: int) -> list[Tensor]:
    """Of each of so many images its forms for test-time augmentation as one: a batch has one list for each form."""
    if number > 1 and all(len(form) == number for form in inputs):
        forms = [[form[i] for form in inputs] for i in range(number)]
    else:
        forms = [_tensors(inputs)]
    return [torch.stack(_same_size(tensors)) for tensors in forms]


def _same_size(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same number of pixels of each of several tensors."""
    few = min((t.numel() for t in tensors), default=0)
    return [t.flatten()[:few] for t in tensors]


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [t for part in value for t in _tensors(part)] if isinstance(value, list | tuple) else []


def _on_cpu(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """Arrays of tensors; those on a GPU are copied together if they have one shape."""
    if len(tensors) > 1 and len({t.shape for t in tensors}) == 1:
        tensors = list(torch.stack(list(tensors)).cpu())
    return [(t.float() if t.is_floating_point() else t).cpu().numpy() for t in tensors]


def _checksum(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def _part(sample: Any, *names: str) -> Any:
    """A part of a data sample by the names on the way to it; None if there is none."""
    for name in names:
        if not hasattr(sample, 'get'):
            return None
        sample = sample.get(name)
    return sample


def _scores_of(sample: Any) -> Tensor | None:
    """The scores in a prediction, for score maps those of a few pixels; None if it has none."""
    logits = _part(sample, 'seg_logits', 'data')
    if isinstance(logits, Tensor):
        step = max(1, min(logits.shape[-2:]) // _SIDE)
        return logits[..., ::step, ::step]
    scores = _part(sample, 'pred_score')
    if isinstance(scores, Tensor):
        return scores
    scores, boxes = (_part(sample, 'pred_instances', name) for name in ('scores', 'bboxes'))
    if isinstance(scores, Tensor) and isinstance(boxes, Tensor):
        return torch.cat([scores[:, None].float(), boxes.float()], dim=1)
    return None


Classes = tuple[np.ndarray | None, np.ndarray]


def _of_pixels(sample: Any, ignored: int | None) -> Classes | None:
    """Labels, or `IGNORED`, and predicted classes of some pixels of an image."""
    predicted, truth = (_part(sample, n, 'data') for n in ('pred_sem_seg', 'gt_sem_seg'))
    if not isinstance(predicted, Tensor):
        return None
    # For heads with one output channel, mmseg predicts 0.0 and 1.0.
    if predicted.is_floating_point() and not torch.equal(predicted, predicted.trunc()):
        return None
    step = max(1, math.isqrt(predicted.numel() // PIXELS))
    maps = [predicted.squeeze()]
    if isinstance(truth, Tensor) and truth.squeeze().shape == maps[0].shape:
        maps.append(truth.squeeze().to(predicted.device))
    arrays = _on_cpu([m[..., ::step, ::step].to(torch.int32).flatten() for m in maps])
    if len(arrays) == 1:
        return None, arrays[0]
    return np.where(arrays[1] == ignored, IGNORED, arrays[1]), arrays[0]


def _of_picture(sample: Any) -> Classes | None:
    """Label and predicted class of an image."""
    predicted, truth = (_part(sample, name) for name in ('pred_label', 'gt_label'))
    if not isinstance(predicted, Tensor) or predicted.numel() != 1:
        return None
    truth = truth if isinstance(truth, Tensor) and truth.numel() == 1 else None
    labels = None if truth is None else truth.cpu().reshape(1).numpy()
    return labels, predicted.cpu().reshape(1).numpy()


def _of_objects(sample: Any, clean: bool) -> Classes | None:
    """Classes of confident detections; in the clean cell also of the objects that they overlap most."""
    labels, scores, boxes = (
        _part(sample, 'pred_instances', name) for name in ('labels', 'scores', 'bboxes')
    )
    if not isinstance(labels, Tensor) or not isinstance(scores, Tensor):
        return None
    sure = scores >= _SURE
    predicted = labels[sure].cpu().numpy()
    truth, there = (_part(sample, 'gt_instances', name) for name in ('labels', 'bboxes'))
    if not clean or not isinstance(truth, Tensor) or not isinstance(boxes, Tensor):
        return None, predicted
    overlaps = _overlaps(_array(boxes[sure]), _array(there))
    if not overlaps.size:
        return None, predicted
    best = overlaps.argmax(axis=0)  # for every object
    hit = overlaps.max(axis=0) >= _OVERLAP
    return truth.cpu().numpy()[hit], predicted[best[hit]]


def _array(boxes: Any) -> np.ndarray:
    return getattr(boxes, 'tensor', boxes).cpu().numpy().reshape(-1, 4)


def _overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union ``(A, B)`` of boxes ``(A, 4)`` and ``(B, 4)``, as two corners each."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clip(min=0).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(-1) for boxes in (first, second)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)


def _count(counts: Counter, classes: np.ndarray) -> None:
    values, numbers = _unique(classes)
    counts.update(dict(zip(values, numbers, strict=True)))


def _count_pairs(counts: Counter, truth: np.ndarray, predicted: np.ndarray) -> None:
    low = int(predicted.min(initial=0))  # some models use -1 for no class
    base = int(predicted.max(initial=0)) - low + 1
    values, numbers = _unique((truth.astype(np.int64) - IGNORED) * base + predicted - low)
    for value, number in zip(values, numbers, strict=True):
        label, guess = divmod(value, base)
        counts[label + IGNORED, guess + low] += number


def _unique(values: np.ndarray) -> tuple[list[int], list[int]]:
    if values.size and values.min() >= 0 and values.max() < PIXELS:  # bincount needs no sorting
        counts = np.bincount(values)
        found = counts.nonzero()[0]
        return found.tolist(), counts[found].tolist()
    found, counts = np.unique(values, return_counts=True)
    return found.tolist(), counts.tolist()
