from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, DataLoader, Subset

from fan_mm.errors import InputError
from fan_mm.evaluation.cell_dataset import (
    CellBatches,
    CellDataset,
    batch_size_of,
    data_info,
    further_pictures,
    loader_like,
    metainfo_of,
    sample_infos,
)
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
def test_batches_are_full_and_dealt_in_turn(cells, samples, batch_size, world_size):
    for rank in range(world_size):
        batches = list(CellBatches(cells, samples, batch_size, rank, world_size))
        for batch in batches:
            first = batch[0] % samples
            assert batch == list(range(batch[0], batch[0] + len(batch)))
            assert first % batch_size == 0 and first // batch_size % world_size == rank
            assert len(batch) == min(batch_size, samples - first)


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


class Known:
    """A dataset of mmengine's kind that knows its samples before it loads them."""

    def __init__(self, *names):
        self.names = names
        self.metainfo = {'classes': names}

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return self.names[index]

    def get_data_info(self, index):
        return {'img_path': self.names[index]}


WRAPPED = ConcatDataset([Known('a', 'b'), Subset(Known('c', 'd', 'e'), [2, 0]), Known('f')])


def test_samples_of_wrapped_datasets_are_known_in_the_order_of_loading():
    """torch's own wrappers have no `get_data_info`."""
    loaded = [WRAPPED[i] for i in range(len(WRAPPED))]
    assert loaded == ['a', 'b', 'e', 'c', 'f']
    assert [info['img_path'] for info in sample_infos(WRAPPED, range(5))] == loaded
    assert metainfo_of(WRAPPED) == {'classes': ('a', 'b')}
    assert metainfo_of(Subset(WRAPPED, [4])) == {'classes': ('a', 'b')}
    assert metainfo_of([1, 2]) == {}


def test_a_concatenation_that_knows_its_samples_is_asked():
    class Concatenated(ConcatDataset):
        metainfo = {'classes': ('own',)}

        def get_data_info(self, index):
            return {'img_path': f'own {index}'}

    whole = Concatenated([Known('a', 'b'), Known('c')])
    assert data_info(whole, 2) == {'img_path': 'own 2'}
    assert metainfo_of(whole) == {'classes': ('own',)}


def test_a_sweep_s_dataset_knows_the_samples_of_every_cell():
    dataset = CellDataset(Known('a', 'b', 'c'), [], [CLEAN, Cell('fog', 1)], samples=[2, 0])
    assert [dataset.get_data_info(i)['img_path'] for i in range(4)] == ['c', 'a', 'c', 'a']


def test_unknown_samples_are_refused():
    class Mute:
        pass

    class Broken(Known):
        def get_data_info(self, index):
            return self.nothing

    with pytest.raises(InputError, match='Mute has no get_data_info: derive it'):
        sample_infos(Mute(), [0])
    with pytest.raises(AttributeError, match='nothing'):  # a fault of its own, and said as it is
        sample_infos(Broken('a'), [0])
    with pytest.raises(InputError, match='samples of Known have no img_path'):
        sample_infos(Known(''), [0])
    assert sample_infos(Known(), []) == []


def test_the_batch_size_of_any_loader():
    assert batch_size_of(DataLoader([1, 2, 3], batch_size=2)) == 2
    assert batch_size_of(DataLoader([1], batch_sampler=CellBatches([0], 1, 1, 0, 1))) == 1
    batches = CellBatches([0], 3, 2, 0, 1)
    batches.batch_size = 2
    assert batch_size_of(DataLoader([1, 2, 3], batch_sampler=batches)) == 2


class Listed:
    """As mmpretrain's MultiTaskDataset, which is none of mmengine's."""

    data_list = [dict(img_path='a.png', gt_label=dict(kind=1))] + [dict(img_path='b.png')]

    def __len__(self):
        return len(self.data_list)


def test_samples_of_a_dataset_that_only_lists_them():
    assert [info['img_path'] for info in sample_infos(Listed(), [1, 0])] == ['b.png', 'a.png']
    assert data_info(Subset(Listed(), [1]), 0) == dict(img_path='b.png')


@pytest.mark.parametrize(
    ('info', 'line'),
    [
        (dict(video_id=1, images=[dict(img_path='a.png')]), 'the samples of Odd are videos'),
        (dict(img_path=['left.png', 'right.png']), 'img_path of the samples of Odd is a list'),
        (dict(img_path=None), 'the samples of Odd have no img_path'),
    ],
)
def test_samples_of_something_else_than_one_picture(info, line):
    class Odd(Listed):
        data_list = [info]

    with pytest.raises(InputError, match=line):
        sample_infos(Odd(), [0])


@pytest.mark.parametrize(
    ('keys', 'others'),
    [
        (('img_path', 'img_path2', 'seg_map_path'), ['img_path2']),  # mmseg's LEVIRCDDataset
        (('img_path', 'img_path_b', 'img2_path'), ['img_path_b', 'img2_path']),
        (('img_path', 'img_id', 'depth_map_path', 'img_prefix'), []),
    ],
)
def test_pictures_beside_the_one_that_is_corrupted(keys, others):
    assert further_pictures(dict.fromkeys(keys, 'a.png')) == others
