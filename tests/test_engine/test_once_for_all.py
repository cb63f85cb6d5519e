"""What one process does, of a machine or of all: all of them end if it fails."""

import multiprocessing
import socket

import pytest
import torch.distributed as dist
from forked import on_ranks

from fan_mm.engine.once_for_all import by_one_of_each_machine, by_rank_0
from fan_mm.errors import InputError


def process(rank, local_rank, port, failure, answers):
    dist.init_process_group('gloo', f'tcp://127.0.0.1:{port}', world_size=3, rank=rank)
    ran = []

    def check():
        ran.append(rank)
        if failure and rank == 2:
            raise failure('the data are wrong')
        return ['same', f'of {rank}']

    try:
        end = by_one_of_each_machine(check, local_rank)
    except Exception as error:
        end = f'{type(error).__name__}: {error}'
    answers.put((rank, ran, end))


@pytest.mark.parametrize('failure', [None, InputError, KeyError])
def test_two_machines_of_two_and_one_processes(failure):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context('fork')
    answers = context.Queue()
    arguments = [(0, 0), (1, 1), (2, 0)]
    processes = [
        context.Process(target=process, args=(*ranks, port, failure, answers))
        for ranks in arguments
    ]
    for one in processes:
        one.start()
    found = sorted(answers.get(timeout=900) for _ in processes)
    for one in processes:
        one.join()
    assert [ran for _, ran, _ in found] == [[0], [], [2]]
    ends = [end for _, _, end in found]
    if failure is None:
        assert ends == [['same', 'of 0', 'of 2']] * 3
    elif failure is InputError:
        assert ends == ['InputError: the data are wrong'] * 3
    else:
        assert ends == ["InputError: a check: 'the data are wrong'"] * 2 + [
            "KeyError: 'the data are wrong'"
        ]


def test_alone():
    assert by_one_of_each_machine(lambda: ['a', 'a'], 0) == ['a']


@pytest.mark.parametrize(
    ('failure', 'of_others'),
    [
        (InputError('no'), 'InputError: no'),
        (OSError(28, 'disk full', 'a.json'), 'InputError: a.json: disk full'),
        (KeyError('name'), "InputError: rank 0 failed: KeyError: 'name'"),
    ],
    ids=['input', 'disk', 'bug'],
)
def test_all_end_where_rank_0_fails(tmp_path, failure, of_others):
    def fail():
        raise failure

    def rank_main(rank):
        try:
            by_rank_0(fail, 'work_dir')
        except Exception as error:
            (tmp_path / str(rank)).write_text(f'{type(error).__name__}: {error}')
        dist.barrier()  # rank 0 has not left the others behind

    on_ranks(rank_main, 2, tmp_path / 'store')
    own = f'KeyError: {failure}' if isinstance(failure, KeyError) else of_others
    assert [(tmp_path / rank).read_text() for rank in '01'] == [own, of_others]


def test_rank_0_knows_what_somebody_elses_code_raised():
    """Its traceback is for the log."""

    class Refused(InputError):
        pass

    def fail():
        raise Refused('the metric fails') from ZeroDivisionError('theirs')

    with pytest.raises(Refused) as error:
        by_rank_0(fail)
    assert isinstance(error.value.__cause__, ZeroDivisionError)
