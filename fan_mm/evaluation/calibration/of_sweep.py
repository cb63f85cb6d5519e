"""Calibration in a sweep: its metric, an optional temperature, and its part of the results."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import Evaluator
from torch import nn
from torch.utils.data import DataLoader

from fan_mm.engine.once_for_all import by_rank_0
from fan_mm.evaluation.bootstrap import PerImage
from fan_mm.evaluation.calibration.measures import BINS, packed
from fan_mm.evaluation.calibration.metric import VARIANTS, CalibrationMetric
from fan_mm.evaluation.calibration.probabilities import probabilities_of
from fan_mm.evaluation.calibration.summary import of_cells, summarize_calibration
from fan_mm.evaluation.calibration.temperature import Temperature, check_apart, fit_on_pictures
from fan_mm.evaluation.cell_dataset import sample_infos
from fan_mm.evaluation.cells import Cell
from fan_mm.evaluation.identity import dataset_sha256
from fan_mm.evaluation.results import bootstrap_of
from fan_mm.evaluation.scope import Scope
from fan_mm.evaluation.scores import ignored_label
from fan_mm.fileio import write_whole

TEMPERATURE = 'temperature.json'


class SweepCalibration:
    """The calibration of every cell of a sweep.

    Args:
        model: the sweep's model.
        task: the task of its metric.
        evaluator: the sweep's evaluator, from whose metric the ignore_index is taken.
        fit_on: dataset of labelled clean images to fit a temperature on; None for no temperature.

    Raises:
        InputError: the model has no probabilities.
    """

    def __init__(
        self, model: nn.Module, task: str, evaluator: Evaluator, fit_on: Any = None
    ) -> None:
        self.probabilities = probabilities_of(model, task)
        self.metric = CalibrationMetric(ignored_label(evaluator))
        self.evaluator = Evaluator([self.metric])
        self.fit_on = fit_on
        self.temperature: Temperature | None = None

    @property
    def variants(self) -> tuple[str, ...]:
        """'plain', and 'scaled' with a temperature."""
        return VARIANTS if self.fit_on is not None else VARIANTS[:1]

    def identity(self, clean_dataset: Any) -> dict[str, str]:
        """What must be the same for stored cells to count.

        Raises:
            InputError: a temperature would be fitted on images that are evaluated.
        """
        found = {'calibration': f'over {BINS} bins'}
        if self.fit_on is not None:
            infos = sample_infos(self.fit_on, range(len(self.fit_on)))
            evaluated = sample_infos(clean_dataset, range(len(clean_dataset)))
            check_apart(*([info['img_path'] for info in i] for i in (infos, evaluated)))
            content = dataset_sha256(self.fit_on, infos)[:16]
            found['temperature'] = f'fitted on {len(infos)} pictures ({content})'
        return found

    def use(self, temperature: Temperature) -> None:
        """Measure every cell with a temperature too."""
        self.temperature = temperature
        self.metric.temperature = temperature.value

    def fit(
        self,
        model: nn.Module,
        loader: DataLoader,
        fp16: bool,
        folder: Path | None,
        goes_on: bool,
        protocol: str,
    ) -> None:
        """Let all ranks use the same temperature: that of the cells that are done, or a new one.

        Args:
            model: the sweep's model.
            loader: loader of the clean images; the images to fit on are loaded in the same way.
            fp16: predict under autocast.
            folder: the sweep's folder, where the temperature is stored; None for no file.
            goes_on: whether there are such cells.
            protocol: name of the sweep's protocol.
        """
        assert self.fit_on is not None
        found = by_rank_0(lambda: _stored(folder) if goes_on else None, folder or '')
        found = found or self.temperature  # from an earlier sweep of the same model
        if not found:
            ignored = self.metric.ignore_index
            found = fit_on_pictures(model, self.fit_on, loader, ignored, fp16)

        def kept() -> Temperature:
            if folder:  # so that a resumed sweep uses the same temperature
                content = {'protocol': protocol, **found.as_dict()}
                write_whole(folder / TEMPERATURE, json.dumps(content, indent=1) + '\n')
            return found

        self.use(by_rank_0(kept, folder or ''))  # exactly the same value on all ranks

    def about(self) -> dict[str, Any]:
        """What results say of how it was measured."""
        return {
            'bins': BINS,
            'probabilities': self.probabilities,
            'variants': list(self.variants),
            'temperature': self.temperature and self.temperature.as_dict(),
        }

    def of_cell(self, results: Sequence[np.ndarray]) -> np.ndarray:
        """The statistics per image ``(N, V, SIZE)`` of a cell, to be stored."""
        return packed(np.stack(results))

    def into(
        self,
        results: dict[str, Any],
        scope: Scope,
        keys: np.ndarray,
        statistics: Mapping[Cell, np.ndarray],
    ) -> PerImage | None:
        """Add the calibration to the content of results.json, from the statistics of the finished cells.

        Returns:
            The content of calibration.npz; None if no cell is finished.
        """
        per_image = PerImage('calibration', keys, statistics)
        draws = per_image.resampled()
        cells = of_cells(per_image, draws, self.variants)
        for cell in results['cells']:
            found = cells.get(Cell(cell['corruption'], cell['severity']))
            if found is not None:
                cell['calibration'] = found
        # Calibration has intervals even if the metric has none.
        results['bootstrap'] = results['bootstrap'] or bootstrap_of(per_image)
        results['calibration'] = {
            **self.about(),
            'summary': summarize_calibration(scope, cells, draws, self.variants),
        }
        return per_image if statistics else None


def _stored(folder: Path | None) -> Temperature | None:
    """The temperature with which the sweep in a folder was started."""
    try:
        content = json.loads((folder / TEMPERATURE).read_text()) if folder else None
        if not content:
            return None
        content.pop('protocol', None)  # absent in files of earlier versions
        return Temperature(**{**content, 'nll': tuple(content['nll'])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
