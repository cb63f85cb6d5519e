import os
import shutil

import pytest
import torch
from mmengine.config import Config

from fan_mm.engine.resume import newest_checkpoint, read_training_state
from fan_mm.errors import InputError
from fan_mm.jobs.training import _set_resume


def save(path, iteration, **entries):
    path.parent.mkdir(exist_ok=True)
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


def test_a_copy_of_a_work_dir_does_not_go_on_from_the_original(tmp_path):
    save(tmp_path / 'a/iter_900.pth', 900)
    copied = shutil.copytree(tmp_path / 'a', tmp_path / 'b')
    set_age(copied / 'last_checkpoint', 60)
    save(tmp_path / 'a/iter_1000.pth', 1000)  # the original went on
    assert newest_checkpoint(copied) == (copied / 'iter_900.pth', [])
    assert newest_checkpoint(tmp_path / 'a') == (tmp_path / 'a/iter_1000.pth', [])
    (copied / 'iter_900.pth').unlink()  # CheckpointHook(out_dir=...): the checkpoints lie elsewhere
    assert newest_checkpoint(copied)[0].parent == tmp_path / 'a'


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
