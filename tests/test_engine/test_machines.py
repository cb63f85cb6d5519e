"""Machines that each read their own disks: what differs is refused or said, and nothing needs a common folder."""

import os
import socket
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from forked import on_ranks
from mmengine.config import Config
from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.runner import set_random_seed
from torch.utils.data import DataLoader

from fan_mm.engine import machines
from fan_mm.errors import InputError
from fan_mm.evaluation.sweeping.gathering import Gathering, RankPart


def on_machines(function, tmp_path, local_ranks=(0, 0)):
    """Call a function on ranks whose machines have a name and a current folder of their own."""

    def rank_main(rank):
        host = rank - local_ranks[rank]  # the rank of its machine's first process
        os.environ['LOCAL_RANK'] = str(local_ranks[rank])
        socket.gethostname = lambda: f'node{host}'
        own = tmp_path / f'node{host}'
        own.mkdir(exist_ok=True)
        os.chdir(own)
        function(rank)

    on_ranks(rank_main, len(local_ranks), tmp_path / 'store')


def refused(call, *args):
    with pytest.raises(InputError) as error:
        call(*args)
    return str(error.value)


def test_machines_that_find_different_things_end_all_of_them(tmp_path):
    def rank_main(rank):
        asked = []

        def value(texts):
            asked.append(rank)
            return texts[rank]

        def compare(*texts):
            machines.refuse_differences('the weights', lambda: value(texts), 'copy')

        assert compare('a', 'not asked', 'a') is None
        assert asked == [rank] * (rank != 1)
        assert refused(compare, 'a', 'a', 'b') == (
            'the weights differ between machines (a on node0, b on node2): copy'
        )

        def missing():
            if rank == 2:
                raise InputError('no such file')
            return 'a'

        place = '' if rank == 2 else 'on node2: '
        line = refused(machines.refuse_differences, 'the weights', missing, 'copy')
        assert line == f'{place}no such file'

    on_machines(rank_main, tmp_path, (0, 1, 0))


@pytest.mark.parametrize('processes', [1, 2])
def test_one_machine_has_nothing_to_compare(processes, tmp_path):
    def rank_main(rank):
        machines.refuse_differences('the weights', lambda: pytest.fail('asked'), '')

    on_machines(rank_main, tmp_path, range(processes))


class Listed:
    def __init__(self, names):
        self.names = names

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return self.names[index]

    def get_data_info(self, index):
        return dict(img_path=f'/node/{self.names[index]}')


class Unlisted(list):
    """As a dataset of torch."""


@pytest.mark.parametrize(
    ('first', 'second', 'line'),
    [
        (Listed('abc'), Listed('abc'), None),
        (Listed('abc'), Listed('acb'), '(3 images listed as '),
        (Listed('abc'), Listed('ab'), ', 2 images listed as '),
        (Unlisted('abc'), Unlisted('acb'), None),
        (Unlisted('abc'), Unlisted('ab'), '(3 images on node0, 2 images on node1)'),
        (iter('abc'), iter('ab'), None),
    ],
)
def test_images_are_shared_by_their_numbers(first, second, line, tmp_path):
    def rank_main(rank):
        loader = SimpleNamespace(dataset=[first, second][rank])
        if line is None:
            machines.refuse_other_images('val_dataloader', loader)
            return
        said = refused(machines.refuse_other_images, 'val_dataloader', loader)
        assert said.startswith('the images of val_dataloader differ between machines (3 images')
        assert line in said

    on_machines(rank_main, tmp_path)


def test_configs_that_differ_are_said(tmp_path):
    def rank_main(rank):
        def config(**own):
            # what differs with every process is not the user's doing
            return Config(
                dict(
                    optim=dict(lr=1, betas=[1, 2]),
                    f=lambda: rank,
                    work_dir=f'w{rank}',
                    names={0, 8} if rank else {8, 0},
                    **own,
                )
            )

        assert machines.say_other_configs(config(a=1, b=dict(c=None))) == []
        own = dict(b=1, optim_wrapper=[dict(x=rank)]) if rank else dict(optim_wrapper=[dict(x=0)])
        assert machines.say_other_configs(config(**own)) == [
            'node1 has another config than node0 (b, optim_wrapper.0.x): is it the same command, and the same '
            'version of the file?'
        ]

    on_machines(rank_main, tmp_path)


@pytest.mark.parametrize('seeds', [(3, None), (None, 3), (None, None), (3, 4)])
def test_one_seed_for_all(seeds, tmp_path):
    """Only one of them has a checkpoint to resume from: mmengine's Runner does not hang."""

    def rank_main(rank):
        seed = seeds[rank]
        cfg = Config(dict(randomness=dict(seed=seed, deterministic=True)) if seed else {})
        machines.share_seed(cfg)
        own = cfg.get('randomness') or {}
        used = set_random_seed(**{'seed': None, **own})
        assert all_gather_object(used) == [used, used]
        assert seeds[0] in (used, None) and own.get('deterministic') == (True if seed else None)

    on_machines(rank_main, tmp_path)


@pytest.mark.parametrize('loop', ['train_cfg', 'val_cfg', 'test_cfg'])
def test_loops_that_differ_would_wait_for_each_other(loop, tmp_path):
    def rank_main(rank):
        cfg = Config({loop: dict(max_iters=rank)})
        line = f'node1 has another config than node0 ({loop}.max_iters): is it the same command'
        assert refused(machines.say_other_configs, cfg).startswith(line)

    on_machines(rank_main, tmp_path)


def test_who_sees_a_folder(tmp_path):
    common = tmp_path / 'common'

    def rank_main(rank):
        assert machines.shared_by_all(common / 'made')
        # the system refuses to look, as into a folder of somebody else's
        assert not machines.shared_by_all(common / ('x' * 999 if rank else 'made'))
        assert not machines.shared_by_all('own')
        assert not machines.shared_by_all('/proc/none/can/be/made')
        assert not list(common.glob('made/*')) and not list(Path('own').iterdir())

    on_machines(rank_main, tmp_path)
    assert machines.shared_by_all('no folder is made for one process')
    assert not Path('no folder is made for one process').exists()


class Collected(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return dict(results=results)


@pytest.mark.parametrize('common', [False, True])
def test_metrics_collect_without_a_common_folder(common, tmp_path):
    def rank_main(rank):
        if common:
            os.chdir(tmp_path)
        evaluator = Evaluator([Collected(), Collected(collect_device='gpu')])
        machines.collect_without_disk(evaluator)
        machines.collect_without_disk(None)  # a loop of one's own
        devices = [metric.collect_device for metric in evaluator.metrics]
        assert devices == ['cpu' if common else 'gpu', 'gpu']
        for metric in evaluator.metrics:
            metric.process(None, [rank, rank + 2])
            assert metric.evaluate(4) == dict(results=[0, 1, 2, 3])

    on_machines(rank_main, tmp_path)


@pytest.fixture
def of_mmdet():
    """Metrics as mmdet's, by the names of their classes and of its module."""

    def made(name, **attributes):
        base = type(name, (Collected,), dict(__module__='mmdet.evaluation'))
        metric = type('Own', (base,), {})()
        vars(metric).update(attributes)
        return Evaluator([metric])

    return made


def test_metrics_of_trackers_need_a_common_folder(of_mmdet, tmp_path):
    def rank_main(rank):
        evaluator = of_mmdet('BaseVideoMetric')
        line = refused(machines.collect_without_disk, evaluator)
        assert line.startswith('Own collects results below the current folder, which the machines')
        assert evaluator.metrics[0].collect_device == 'cpu'
        os.chdir(tmp_path)
        machines.collect_without_disk(evaluator)

    on_machines(rank_main, tmp_path)


@pytest.mark.parametrize('name', ['MOTChallengeMetric', 'CityScapesMetric'])
def test_metrics_that_exchange_files_need_a_common_temporary_folder(
    of_mmdet, name, tmp_path, monkeypatch
):
    common = str(tmp_path / 'common')

    def rank_main(rank):
        os.chdir(tmp_path)
        machines.shared_by_all = lambda folder: folder == common
        evaluator = of_mmdet(name, tmp_dir=object())
        tempfile.tempdir = f'/own{rank}'
        for call in (machines.collect_without_disk, lambda e: Gathering(e, None)):
            line = refused(call, evaluator)
            assert line.startswith('Own exchanges files in /own0, which the machines do not share:')
        Gathering(of_mmdet(name, tmp_dir=None), None)  # in a folder that somebody named
        Gathering(of_mmdet('CocoPanopticMetric', tmp_dir=object()), None)
        tempfile.tempdir = common
        Gathering(evaluator, None)

    on_machines(rank_main, tmp_path)


def test_what_a_kill_has_left_is_removed_by_the_next_run(tmp_path):
    names = ['.seen_by_all.0123456789ab', '.seen_by_all.new', 'other']
    for name in names:
        (tmp_path / name).touch()
    for name in (names[0], names[2]):
        os.utime(tmp_path / name, (0, 0))

    def rank_main(rank):
        assert machines.shared_by_all(tmp_path)

    on_machines(rank_main, tmp_path)
    assert {path.name for path in tmp_path.glob('*') if path.is_file()} >= {
        'other',
        '.seen_by_all.new',
    }
    assert not (tmp_path / names[0]).exists()


def test_a_folder_for_collecting_that_somebody_named_is_used(tmp_path):
    def rank_main(rank):
        metric = Collected(collect_dir=str(tmp_path / 'named'))
        machines.collect_without_disk(Evaluator([metric]))
        assert metric.collect_device == 'cpu'

    on_machines(rank_main, tmp_path)


@pytest.mark.parametrize('work_dir', [None, Path('own')])
def test_cells_are_gathered_without_a_common_folder(work_dir, tmp_path):
    def rank_main(rank):
        gathering = Gathering(Evaluator([Collected()]), work_dir)
        for cell in range(2):
            parts = gathering.gather(RankPart(positions=[10 * cell + rank]))
            found = parts and [part.positions for part in parts]
            assert found == (None if rank else [[10 * cell], [10 * cell + 1]])

    on_machines(rank_main, tmp_path)


def test_an_evaluation_over_several_machines_is_compared_in_the_hook(tmp_path):
    from fan_mm.engine.first_batch.hook import FirstBatchHook

    def rank_main(rank):
        loader = DataLoader(Listed('abc'[: 3 - rank]))
        runner = SimpleNamespace(test_loop=SimpleNamespace(dataloader=loader), model=None)
        line = refused(FirstBatchHook().before_test, runner)
        assert line.startswith('the images of test_dataloader differ between machines (3 images')

    on_machines(rank_main, tmp_path)
