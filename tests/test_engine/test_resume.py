import os
import re
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import LinearLR, MultiStepLR, OptimWrapper, PolyLR
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from fan_mm.engine.resume import ResumedSettingsHook, newest_checkpoint, read_training_state
from fan_mm.errors import InputError
from fan_mm.jobs.training import _set_resume


def save(path, iteration, **entries):
    meta = dict(iter=iteration, epoch=0, seed=7)
    state = dict(meta=meta, state_dict={'w': torch.ones(1000)}, optimizer={}, **entries)
    torch.save(state, path)
    (path.parent / 'last_checkpoint').write_text(str(path))
    return path


def set_age(path, seconds):
    os.utime(path, (path.stat().st_mtime - seconds,) * 2)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def test_nothing_to_resume(tmp_path):
    assert newest_checkpoint(tmp_path) == (None, [])
    (tmp_path / 'last_checkpoint').write_text('')
    assert newest_checkpoint(tmp_path / 'nowhere') == (None, [])


def test_the_noted_checkpoint_comes_first(tmp_path):
    save(tmp_path / 'iter_1000.pth', 1000)  # of an earlier run
    first = save(tmp_path / 'iter_900.pth', 900)
    assert newest_checkpoint(tmp_path) == (first, [])
    noted = save(tmp_path / 'named.pth', 950)
    set_age(tmp_path / 'last_checkpoint', 60)
    assert newest_checkpoint(tmp_path) == (noted, [])


def test_a_checkpoint_written_but_not_yet_noted_counts(tmp_path):
    newest = save(tmp_path / 'iter_1000.pth', 1000)
    noted = save(tmp_path / 'iter_900.pth', 900)
    set_age(tmp_path / 'last_checkpoint', 60)
    assert newest_checkpoint(tmp_path) == (newest, [])
    truncate(newest)
    assert newest_checkpoint(tmp_path)[0] == noted


@pytest.mark.parametrize('note', [b'\xff\xfe\x80', b'a\0b', b'x' * 5000])
def test_a_damaged_note_is_no_note(note, tmp_path):
    saved = save(tmp_path / 'iter_900.pth', 900)
    (tmp_path / 'last_checkpoint').write_bytes(note)
    assert newest_checkpoint(tmp_path) == (saved, [])


def test_without_a_note_the_highest_number_counts(tmp_path):
    for step in (900, 1000):
        save(tmp_path / f'iter_{step}.pth', step)
    (tmp_path / 'last_checkpoint').unlink()
    torch.save({}, tmp_path / 'best_mIoU_iter_2000.pth')
    assert newest_checkpoint(tmp_path)[0].name == 'iter_1000.pth'


def test_damaged_files_are_passed_over(tmp_path):
    for step in (1, 2, 10):
        save(tmp_path / f'iter_{step}.pth', step)
    truncate(tmp_path / 'iter_10.pth')
    path, complaints = newest_checkpoint(tmp_path)
    assert path.name == 'iter_2.pth'
    assert len(complaints) == 1
    assert 'iter_10.pth' in complaints[0]
    truncate(tmp_path / 'iter_1.pth')
    truncate(tmp_path / 'iter_2.pth')
    with pytest.raises(InputError, match='no checkpoint can be read'):
        newest_checkpoint(tmp_path)


@pytest.mark.parametrize('size', [0, 100, 2000])
def test_a_kill_in_the_first_save_means_the_beginning(size, tmp_path):
    only = save(tmp_path / 'iter_1.pth', 1)
    os.truncate(only, size)
    (tmp_path / 'last_checkpoint').unlink()
    path, complaints = newest_checkpoint(tmp_path)
    assert path is None
    assert len(complaints) == 1 and 'iter_1.pth is not a torch checkpoint' in complaints[0]


def test_the_training_says_so_and_begins(tmp_path):
    only = save(tmp_path / 'iter_1.pth', 1)
    truncate(only)
    cfg = Config(dict(work_dir=str(tmp_path)))
    lines = _set_resume(cfg, 'auto')
    assert cfg.resume is False and cfg.get('load_from') is None
    assert 'iter_1.pth' in lines[0] and 'starting from the beginning' in lines[1]


def test_malicious_file_is_refused(tmp_path, malicious):
    path = save(tmp_path / 'iter_1.pth', 1, extra=malicious)
    with pytest.raises(InputError, match='refused'):
        read_training_state(path)
    with pytest.raises(InputError, match='refused'):
        newest_checkpoint(tmp_path)


def test_weights_alone_are_no_training_state(tmp_path):
    torch.save({'state_dict': {}}, tmp_path / 'weights.pth')
    with pytest.raises(InputError, match='contains no training state'):
        read_training_state(tmp_path / 'weights.pth')


def trained(lr=0.1, decay=0.01, groups=1, steps=2, **schedules):
    """Optimizer and schedulers as a Runner has them, after some steps."""
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(groups)]
    parts = [dict(params=[weight]) for weight in weights]
    wrapper = OptimWrapper(torch.optim.SGD(parts, lr, weight_decay=decay))
    schedulers = [
        schedule(wrapper, by_epoch=False, **options) for schedule, options in schedules.values()
    ]
    for _ in range(steps):
        wrapper.step()
        for scheduler in schedulers:
            scheduler.step()
    return wrapper, schedulers


POLY = dict(a=(PolyLR, dict(end=9)))


@pytest.mark.parametrize(
    ('kind', 'before', 'words'),
    [
        (
            EpochBasedTrainLoop,
            12,
            r' \(epochs of 3 steps, now of 2: other processes, batches or images\)',
        ),
        (EpochBasedTrainLoop, 8, ''),
        (IterBasedTrainLoop, 12, ''),
    ],
)
def test_epochs_of_another_number_of_processes_are_the_reason(kind, before, words):
    info = dict(max_iters=before, max_epochs=4)
    wrapper, schedulers = trained(a=(PolyLR, dict(end=8)))
    said = []
    runner = SimpleNamespace(
        **dict(_resume=True, _load_from='a.pth', optim_wrapper=wrapper, max_iters=8, max_epochs=4),
        **dict(train_loop=kind.__new__(kind), param_schedulers=schedulers),
        logger=SimpleNamespace(log=lambda level, line: said.append(line)),
    )
    saved = [scheduler.state_dict() | dict(end=12) for scheduler in schedulers]
    content = dict(param_schedulers=saved, message_hub=dict(runtime_info=info))
    ResumedSettingsHook().after_load_checkpoint(runner, content)
    assert re.search(f': param_scheduler.0: end is 12, not 8{words}; load_from', said.pop())


@pytest.mark.parametrize('named', [False, True])
@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({}, None),
        (dict(steps=0), None),
        (dict(lr=0.2), r'optimizer, parameter group 0: initial_lr is 0\.1, not 0\.2; load_from'),
        (dict(decay=0.0), r'optimizer, parameter group 0: weight_decay is 0\.01, not 0;'),
        (dict(groups=2), r'optimizer, parameter group: 1 of them, not 2'),
        (dict(a=(PolyLR, dict(end=20))), r'param_scheduler\.0: end is 9, not 20'),
        (dict(a=(LinearLR, dict(end=9))), None),  # of which no setting is known to both
        (dict(b=(PolyLR, dict(end=9))), 'param_scheduler: 1 of them, not 2'),
        (dict(a=(MultiStepLR, dict(milestones=[3]))), r'param_scheduler\.0: end is 9, not'),
    ],
)
def test_settings_that_resuming_sets_back(change, words, named):
    wrapper, schedulers = trained(**POLY)
    saved = [scheduler.state_dict() for scheduler in schedulers]
    content = dict(
        optimizer=wrapper.state_dict(), param_schedulers=dict(o=saved) if named else saved
    )
    wrapper, schedulers = trained(**{**POLY, 'steps': 0, **change})
    said = []
    runner = SimpleNamespace(
        **dict(_resume=True, _load_from='a.pth', optim_wrapper=wrapper),
        param_schedulers=dict(o=schedulers) if named else schedulers,
        logger=SimpleNamespace(log=lambda level, line: said.append(line)),
    )
    ResumedSettingsHook().after_load_checkpoint(runner, content)
    if words is not None:
        assert re.search(f'settings in a.pth, not those of the config: {words}', said.pop())
    assert said == []
    runner._resume = False
    ResumedSettingsHook().after_load_checkpoint(runner, content)
    assert said == []
