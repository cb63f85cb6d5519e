"""One dataset and one loader for a whole sweep, so that workers persist and prefetch.

An index of the dataset identifies a cell and a sample. The worker that receives it switches its own copy
of the pipelines to that cell, so workers of one loader can process different cells at the same time and
need not wait between cells.
"""

import bisect
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler, Subset

from fan_mm.errors import InputError
from fan_mm.evaluation.cells import Cell
from fan_mm.evaluation.pipelines import CellPipeline


@dataclass(eq=False)
class CellDataset(Dataset):
    """Every sample in every cell.

    Attributes:
        dataset: from `fan_mm.evaluation.pipelines.with_cells`.
        pipelines: the dataset's pipelines, returned by the same function.
        cells: K cells.
        samples: N indices into ``dataset``.
    """

    dataset: Any
    pipelines: Sequence[CellPipeline]
    cells: Sequence[Cell]
    samples: Sequence[int]

    def __len__(self) -> int:
        """``K * N``."""
        return len(self.cells) * len(self.samples)

    def __getitem__(self, index: int) -> Any:
        """Sample ``index % N`` in cell ``index // N``."""
        cell, sample = divmod(index, len(self.samples))
        for pipeline in self.pipelines:
            pipeline.move_to(self.cells[cell])
        return self.dataset[self.samples[sample]]

    def get_data_info(self, index: int) -> Mapping:
        """What the dataset knows about a sample before loading it."""
        return data_info(self.dataset, self.samples[index % len(self.samples)])


class CellBatches(Sampler):
    """One rank's batches, cell after cell; no batch contains samples of two cells.

    Batches are formed in sample order and then distributed to the ranks in turn, so the batches do not
    depend on the number of ranks: which images share a batch can affect the last digits, and more than
    that if images are padded to a common size. Ranks may have different numbers of batches; no sample
    is evaluated twice.

    Args:
        cells: indices of the cells to evaluate.
        samples: N, samples per cell.
        batch_size: samples per batch; the last batch of a cell may be smaller.
        rank: rank of this process.
        world_size: number of processes.
    """

    def __init__(
        self, cells: Sequence[int], samples: int, batch_size: int, rank: int, world_size: int
    ) -> None:
        self.cells = cells
        self.samples = samples
        starts = range(0, samples, batch_size)[rank::world_size]
        self.batches = [list(range(s, min(s + batch_size, samples))) for s in starts]

    def __len__(self) -> int:
        """Number of this rank's batches in all cells."""
        return len(self.cells) * len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        for cell in self.cells:
            for batch in self.batches:
                yield [cell * self.samples + sample for sample in batch]


def loader_like(loader: DataLoader, dataset: Dataset, batches: Sampler) -> DataLoader:
    """A loader over ``batches`` of ``dataset`` with the other options of ``loader``."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        prefetch_factor=loader.prefetch_factor,
    )


def batch_size_of(loader: DataLoader) -> int:
    """Samples per batch of a loader, also if it has a batch sampler of its own."""
    size: Any = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 1)
    return size


def data_info(dataset: Any, index: int) -> Mapping:
    """What a dataset knows about a sample before loading it; torch's Subset and ConcatDataset too.

    Raises:
        AttributeError: the dataset has no ``get_data_info``.
    """
    if isinstance(dataset, Subset):
        return data_info(dataset.dataset, dataset.indices[index])
    if isinstance(dataset, ConcatDataset) and not hasattr(dataset, 'get_data_info'):
        part = bisect.bisect_right(dataset.cumulative_sizes, index)
        start = dataset.cumulative_sizes[part - 1] if part else 0
        return data_info(dataset.datasets[part], index - start)
    listed = getattr(dataset, 'data_list', None)
    if not hasattr(dataset, 'get_data_info') and isinstance(listed, list):
        return listed[index]  # mmpretrain's MultiTaskDataset
    return dataset.get_data_info(index)


def metainfo_of(dataset: Any) -> Any:
    """The metainfo of a dataset, or of what torch's Subset or ConcatDataset wraps; {} without."""
    if isinstance(dataset, Subset):
        return metainfo_of(dataset.dataset)
    if isinstance(dataset, ConcatDataset) and not hasattr(dataset, 'metainfo'):
        return metainfo_of(dataset.datasets[0])
    return getattr(dataset, 'metainfo', None) or {}


def sample_infos(dataset: Any, samples: Sequence[int]) -> list[Mapping]:
    """What the dataset knows about its samples before loading them.

    Raises:
        InputError: it has no ``get_data_info``, or samples without ``img_path``.
    """
    try:
        infos = [data_info(dataset, i) for i in samples]
    except AttributeError as error:
        if error.name != 'get_data_info':
            raise
        raise InputError(
            f'{type(error.obj).__name__} has no get_data_info: derive it from BaseDataset of mmengine'
        ) from None
    if not infos:
        return infos
    path = infos[0].get('img_path')
    if not path and isinstance(infos[0].get('images'), list):
        raise InputError(
            f'the samples of {type(dataset).__name__} are videos, but images are corrupted one by one: '
            'evaluate a detector on a dataset of images'
        )
    if path and not isinstance(path, str | os.PathLike):
        raise InputError(
            f'img_path of the samples of {type(dataset).__name__} is a {type(path).__name__}: only samples of '
            'one image can be corrupted'
        )
    if not path:
        raise InputError(
            f'the samples of {type(dataset).__name__} have no img_path: the seed of an image is '
            'derived from its file name, so the dataset must read images from files'
        )
    return infos


def further_pictures(info: Mapping) -> list[str]:
    """The keys of further images of a sample beside ``img_path``: 'img_path2' of mmseg's LEVIR-CD."""
    return [
        key
        for key, value in info.items()
        if re.fullmatch(r'img_?path_?\w+|img_?\d+_path', str(key)) and isinstance(value, str)
    ]
