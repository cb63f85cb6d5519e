from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from fan_mm.evaluation.cell_dataset import CellBatches, CellDataset, batch_size_of, loader_like
from fan_mm.evaluation.cells import CLEAN, Cell

SIZES = dict(
    cells=st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True),
    samples=st.integers(1, 30),
    batch_size=st.integers(1, 7),
    world_size=st.integers(1, 5),
)


@given(**SIZES)
def test_every_sample_once_per_cell_and_no_batch_across_cells(
    cells, samples, batch_size, world_size
):
    seen = Counter()
    for rank in range(world_size):
        batches = CellBatches(cells, samples, batch_size, rank, world_size)
        assert len(list(batches)) == len(batches)
        for batch in batches:
            assert len({index // samples for index in batch}) == 1
            seen.update(batch)
    expected = {cell * samples + sample for cell in cells for sample in range(samples)}
    assert set(seen) == expected
    assert set(seen.values()) == {1}


@given(**SIZES)
def test_batches_do_not_depend_on_the_number_of_ranks(cells, samples, batch_size, world_size):
    alone = sorted(CellBatches(cells, samples, batch_size, 0, 1))
    together = [
        batch
        for rank in range(world_size)
        for batch in CellBatches(cells, samples, batch_size, rank, world_size)
    ]
    assert sorted(together) == alone


@given(**SIZES)
def test_cells_come_in_order(cells, samples, batch_size, world_size):
    batches = CellBatches(cells, samples, batch_size, 0, world_size)
    visited = list(dict.fromkeys(index // samples for batch in batches for index in batch))
    assert visited == cells


class Pipeline:
    def __init__(self):
        self.cell = CLEAN

    def move_to(self, cell):
        self.cell = cell


class Numbers:
    """A dataset that says in which cell a sample was asked for."""

    def __init__(self, pipeline):
        self.pipeline = pipeline

    def __getitem__(self, index):
        return str(self.pipeline.cell), index


def test_workers_read_across_cells():
    cells = [CLEAN, Cell('fog', 1), Cell('fog', 2)]
    pipeline = Pipeline()
    dataset = CellDataset(Numbers(pipeline), [pipeline], cells, samples=[0, 10, 20])
    clean = DataLoader(list(range(3)), batch_size=2, num_workers=2, collate_fn=list)
    batches = CellBatches([0, 1, 2], 3, batch_size_of(clean), 0, 1)
    read = [item for batch in loader_like(clean, dataset, batches) for item in batch]
    assert read == [(str(cell), sample) for cell in cells for sample in (0, 10, 20)]
    assert len(dataset) == 9


def test_loader_like_keeps_how_batches_are_read():
    clean = DataLoader([1, 2], num_workers=2, timeout=7, prefetch_factor=3, worker_init_fn=print)
    loader = loader_like(clean, [1, 2], CellBatches([0], 2, 1, 0, 1))
    for name in ('num_workers', 'timeout', 'prefetch_factor', 'worker_init_fn', 'collate_fn'):
        assert getattr(loader, name) == getattr(clean, name)
