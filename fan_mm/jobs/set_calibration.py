"""Calibration of a classifier on one test set after the other, its temperatures included."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.dist import all_gather_object, broadcast_object_list
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fan_mm.evaluation.calibration.measures import SIZE, sums_of_labels
from fan_mm.evaluation.calibration.metric import VARIANTS, checked
from fan_mm.evaluation.calibration.probabilities import probabilities_of
from fan_mm.evaluation.calibration.summary import of_set
from fan_mm.evaluation.calibration.temperature import Temperature, check_apart, fit_on_pictures
from fan_mm.evaluation.cell_dataset import sample_infos


class SetCalibration:
    """Collects a classifier's calibration on the images of a set, over all processes.

    Args:
        model: the classifier; its weights may change between two sets.
        fit_temperature: whether temperatures are fitted.

    Raises:
        InputError: the model has no probabilities.
    """

    def __init__(self, model: nn.Module, fit_temperature: int) -> None:
        self.model = model
        self.probabilities = probabilities_of(model, 'classification')
        self.variants = VARIANTS if fit_temperature else VARIANTS[:1]
        self.pictures: dict[str, Dataset] = {}  # set -> what its temperature is fitted on
        self._positions: list[int] = []
        self._sums: list[np.ndarray] = []
        self._temperature: Temperature | None = None

    def add_pictures(self, name: str, pictures: Dataset) -> None:
        """Fit the temperature for a set on these images, read as the set's are."""
        self.pictures[name] = pictures

    def check_apart(self, name: str, dataset: Any) -> None:
        """Check that none of them is in the set.

        Raises:
            InputError: one is.
        """
        both: tuple[Any, Any] = self.pictures[name], dataset
        infos = [sample_infos(d, range(len(d))) for d in both]
        check_apart(*([info['img_path'] for info in found] for found in infos))

    def begin(self, name: str, loader: DataLoader) -> None:
        """Begin with a set; the model has the weights for it."""
        self._positions, self._sums, self._temperature = [], [], None
        if name in self.pictures:
            fitted = [fit_on_pictures(self.model, self.pictures[name], loader)]
            broadcast_object_list(fitted)  # the same on all ranks, to the last digit
            self._temperature = fitted[0]

    def add(
        self, positions: Sequence[int], scores: Tensor, labels: Tensor, classes: Sequence[int]
    ) -> None:
        """Add a batch.

        Args:
            positions: of its B images in the set.
            scores: ``(B, K)`` probabilities.
            labels: ``(B,)`` positions in ``classes``.
            classes: those that the set has; their probabilities are made to add up to 1.

        Raises:
            InputError: the scores are no probabilities.
        """
        temperatures = (1.0,) if self._temperature is None else (1.0, self._temperature.value)
        chosen = checked(scores)[:, list(classes)]
        self._positions += positions
        self._sums.append(sums_of_labels(chosen, labels, temperatures))

    def end(self) -> dict[str, Any]:
        """'calibration' and, where one was fitted, 'temperature' of the set, on every rank."""
        empty = np.zeros((0, len(self.variants), SIZE), np.int64)
        parts = all_gather_object((self._positions, np.concatenate([empty, *self._sums])))
        sums = np.concatenate([part for _, part in parts])
        sums = sums[np.argsort([p for positions, _ in parts for p in positions])]
        found = {'calibration': of_set(sums, self.variants)}
        if self._temperature:
            found['temperature'] = self._temperature.as_dict()
        return found
