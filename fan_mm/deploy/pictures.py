"""Pictures of a config's training split, as a graph takes them, to calibrate it and to see what that cost."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dataset import pseudo_collate
from torch import Tensor

from fan_mm.deploy.network import Network
from fan_mm.engine.first_batch.samples import load_samples
from fan_mm.engine.predictor import Predictor, test_pipeline
from fan_mm.engine.training_split import training_datasets
from fan_mm.errors import InputError

HELD_BACK = 4  # images to verify with, that calibration does not see


class TrainingPictures:
    """Pictures evenly spaced over the training split, through the test pipeline.

    Args:
        split: the config's ``train_dataloader.dataset``; of what wraps datasets, all that is inside.
        predictor: the config's model.
        network: to which they go.
        count: of images to calibrate with; all but those held back, where there are fewer.

    Raises:
        InputError: no training split, one that cannot be read, or one with a single image.
    """

    def __init__(self, split: Any, predictor: Predictor, network: Network, count: int) -> None:
        if count < 1:
            raise InputError(f'--calibration-images {count}: at least one is needed')
        self.network = network
        self.pipeline = test_pipeline(predictor)
        self.datasets = training_datasets(split, [], predictor.scope, '--precision int8')
        total = sum(map(len, self.datasets))
        if total < 2:
            raise InputError(f'int8 needs two images of the training split, but there are {total}')
        held = min(HELD_BACK, total // 2)
        taken = min(count + held, total)
        places = [i * total // taken for i in range(taken)]
        self.held = [places.pop(i * len(places) // held) for i in range(held)]
        self.places = places

    def __len__(self) -> int:
        """Pictures to calibrate with."""
        return len(self.places)

    def __getitem__(self, place: int) -> dict:
        """One of all images of the split, packed."""
        return self.pipeline(self.get_data_info(place))

    def get_data_info(self, place: int) -> dict:
        """What the dataset knows of it."""
        for dataset in self.datasets:
            if place < len(dataset):
                return dataset.get_data_info(place)
            place -= len(dataset)
        raise IndexError(place)

    def calibration(self, height: int, width: int) -> Iterator[Tensor]:
        """The images as inputs of the network, one by one."""
        return (self._fitted(place, height, width) for place in self.places)

    def example(self, batch: int, height: int, width: int, seed: int = 0) -> Tensor:
        """An input of some size of images that calibration does not see, as `Network.example`."""
        places = [self.held[(seed + i) % len(self.held)] for i in range(batch)]
        return torch.cat([self._fitted(place, height, width) for place in places])

    def _fitted(self, place: int, height: int, width: int) -> Tensor:
        """A picture's middle, enlarged where it is smaller."""
        (packed,) = load_samples(self, [place], 'train_dataloader')
        if self.network.preprocessing:
            image = packed['inputs'].flip(0)[None].float()
        else:
            batch = pseudo_collate([packed])
            image = self.network.model.data_preprocessor(batch, False)['inputs'].float()
        have = image.shape[2:]
        if have[0] < height or have[1] < width:
            ratio = max(height / have[0], width / have[1])
            size = [max(round(have[0] * ratio), height), max(round(have[1] * ratio), width)]
            image = F.interpolate(image, size, mode='bilinear')
        top, left = ((a - b) // 2 for a, b in zip(image.shape[2:], (height, width), strict=True))
        image = image[..., top : top + height, left : left + width]
        if self.network.preprocessing:
            return image.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        return image.contiguous()
