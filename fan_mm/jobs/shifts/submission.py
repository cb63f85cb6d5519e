"""Predictions of splits whose labels only a server has, written as it takes them (``--submission DIR``)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.runner.amp import autocast
from torch import nn
from torch.utils.data import DataLoader, Subset

from fan_mm.engine.first_batch.outputs import check_outputs, without_losses
from fan_mm.engine.first_batch.samples import one_line
from fan_mm.engine.first_batch.trial import try_model
from fan_mm.engine.machines import shared_by_all
from fan_mm.engine.once_for_all import by_rank_0
from fan_mm.errors import InputError
from fan_mm.evaluation.cell_dataset import CellBatches, batch_size_of, loader_like, sample_infos
from fan_mm.evaluation.loading.pictures import refuse_cut_pictures
from fan_mm.evaluation.shifts.submission import Submission


@dataclass
class Withheld:
    """A split to be predicted.

    Attributes:
        title: for lines that a user reads, such as 'ACDC test'.
        loaders: of its conditions, built.
        submission: where the predictions go.
    """

    title: str
    loaders: Sequence[DataLoader]
    submission: Submission

    def __post_init__(self) -> None:
        sets: list[Any] = [loader.dataset for loader in self.loaders]
        for dataset in sets:
            refuse_cut_pictures(dataset)
        self.images = [
            [str(info['img_path']) for info in sample_infos(found, range(len(found)))]
            for found in sets
        ]
        if not shared_by_all(self.submission.folder.parent):
            raise InputError(
                f'--submission {self.submission.folder.parent}: each machine would write its own images only; '
                'choose a folder that all of them share'
            )
        self.all_images = [image for images in self.images for image in images]
        self.missing = set(by_rank_0(lambda: self.submission.missing(self.all_images)))

    def parts(self) -> list[tuple[DataLoader, list[int]]]:
        """Loaders, and the positions of what is left to do."""
        found = [
            (loader, [i for i, image in enumerate(images) if image in self.missing])
            for loader, images in zip(self.loaders, self.images, strict=True)
        ]
        return [(loader, positions) for loader, positions in found if positions]


def try_withheld(withheld: Withheld, model: nn.Module, fp16: bool) -> None:
    """Let the model predict the first batch of a split, and one of several sizes; check what a submission needs.

    Raises:
        InputError: it cannot, or says nothing of what the server asks for.
    """

    def step(batch: Any) -> None:
        for sample in predict(model, batch, fp16):
            _of_server(withheld, sample)

    for number, (loader, positions) in enumerate(withheld.parts()):
        if try_model(step, loader, withheld.title, positions, first=not number):
            break


def submit(withheld: Withheld, model: nn.Module, fp16: bool) -> dict[str, Any]:
    """Predict what is missing, every rank a part, and write the zip.

    Returns:
        'set', 'zip', 'files' and 'remarks', on every rank.

    Raises:
        InputError: an image cannot be read or predicted; the zip is not what the server takes.
    """
    total, left = len(withheld.all_images), len(withheld.missing)
    print_log(f'{withheld.title}: {left} of {total} images left to predict', 'current')
    rank, world_size = get_dist_info()
    error = None
    try:
        for loader, positions in withheld.parts():
            batches = CellBatches([0], len(positions), batch_size_of(loader), rank, world_size)
            for batch in loader_like(loader, Subset(loader.dataset, positions), batches):
                for sample in predict(model, batch, fp16):
                    withheld.submission.add(*_of_server(withheld, sample))
    except Exception as failure:  # whatever a dataset or a model may raise
        error = one_line(failure)
    if said := next((e for e in all_gather_object(error) if e is not None), None):
        raise InputError(f'{withheld.title}: {said}')

    def finish() -> dict[str, Any]:
        done = withheld.submission.finish(withheld.all_images)
        return {
            'set': withheld.title,
            'zip': str(done.zip),
            'files': done.files,
            'remarks': list(done.remarks),
        }

    return by_rank_0(finish, Path(withheld.submission.folder))


@torch.no_grad()
def predict(model: BaseModel, batch: Any, fp16: bool) -> list:
    """The checked outputs of a model for a batch."""
    with autocast(enabled=fp16):
        outputs = without_losses(model.eval().test_step(batch))
    check_outputs(outputs)
    return outputs


def _of_server(withheld: Withheld, sample: Any) -> tuple[str, np.ndarray, np.ndarray | None]:
    """Path, trainIds and, where the server asks for it, the largest class probability of each pixel."""
    labels = sample.pred_sem_seg.data.squeeze(0).cpu().numpy()
    if not withheld.submission.server.confidence:
        return sample.img_path, labels, None
    logits = getattr(sample, 'seg_logits', None)
    if logits is None or logits.data.shape[0] < 2:
        raise InputError(
            f'the server of {withheld.title} needs a confidence per pixel, but the model returns no '
            'class scores'
        )
    confidence = logits.data.float().softmax(0).amax(0)
    return sample.img_path, labels, confidence.cpu().numpy()
