"""The launcher of several processes: when torchrun's own report is left out."""

import runpy

import pytest
from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure


@pytest.fixture
def launch(repo_root, monkeypatch):
    def launch(outcome):
        def torchrun():
            if outcome is not None:
                raise outcome

        monkeypatch.setattr(run, 'main', torchrun)
        runpy.run_path(str(repo_root / 'tools/launch.py'))['main']()

    return launch


def failed(*statuses):
    failures = {
        rank: ProcessFailure(rank, 1, status, '<N/A>') for rank, status in enumerate(statuses)
    }
    return ChildFailedError('tools/train.py', failures)


@pytest.mark.parametrize(
    'statuses, status',
    [
        *(((2,), 2), ((2, -15), 2), ((-15, 2), 2), ((143, 143), 143), ((130, -15), 130)),
        ((2, 143), 2),  # torchrun ends the others, which hear of its SIGTERM
        *(((1, 1), 1), ((1, -15), 1)),  # an incomplete result
        ((143, 2), 143),  # one is stopped, and the other misses it
    ],
)
def test_what_a_process_said_is_not_reported_again(launch, statuses, status):
    with pytest.raises(SystemExit) as end:
        launch(failed(*statuses))
    assert end.value.code == status


@pytest.mark.parametrize('statuses', [(-9,), (2, -9), (1, 2), (1, 143), (-15,), (-11, 2)])
def test_what_nobody_said_is_reported(launch, statuses):
    with pytest.raises(ChildFailedError):
        launch(failed(*statuses))


def test_a_stopped_launcher(launch):
    with pytest.raises(SystemExit) as end:
        launch(SignalException('stopped', sigval=15))
    assert end.value.code == 143


def test_a_run_that_succeeds(launch):
    launch(None)
