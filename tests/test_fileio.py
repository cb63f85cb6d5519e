import os
import re
import signal
from pathlib import Path

import pytest

from fan_mm.errors import InputError
from fan_mm.fileio import (
    alone_in,
    check_file,
    check_folder,
    is_temporary,
    output_folder,
    printable,
    remove_temporaries,
    shortened,
    whole_file,
    write_whole,
)


def test_content_appears_under_the_final_name_only(tmp_path):
    path = tmp_path / 'new' / 'result.txt'
    with whole_file(path) as aside:
        aside.write_text('whole')
        assert not path.exists() and aside.suffix == '.txt' and aside.name.startswith('.')
    assert path.read_text() == 'whole' and os.listdir(path.parent) == ['result.txt']


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / 'result.txt'
    path.write_text('old')
    with pytest.raises(RuntimeError), whole_file(path) as aside:
        aside.write_text('half')
        raise RuntimeError
    assert path.read_text() == 'old' and os.listdir(tmp_path) == ['result.txt']


def test_a_folder_in_a_files_place_is_found_at_the_beginning(tmp_path):
    (tmp_path / 'taken').mkdir()
    with pytest.raises(IsADirectoryError, match='taken'), whole_file(tmp_path / 'taken'):
        raise AssertionError('a long computation')
    assert os.listdir(tmp_path) == ['taken']


def test_an_output_folder_is_made_or_found(tmp_path):
    for _ in range(2):
        assert output_folder(str(tmp_path / 'a/b')) == tmp_path / 'a/b'


@pytest.mark.parametrize('place', ['file', 'file/a', 'link', 'link/a/b'])
@pytest.mark.parametrize(
    'find_out', [output_folder, check_folder, lambda p: check_file(p / 'a.png')]
)
def test_no_folder_can_be_where_something_else_is(place, find_out, tmp_path):
    (tmp_path / 'file').touch()
    (tmp_path / 'link').symlink_to(tmp_path / 'nothing')
    inside = re.escape(str(tmp_path / place.partition('/')[0]))
    with pytest.raises(InputError, match=f'^{inside} is not a folder; choose another path$'):
        find_out(tmp_path / place)


def test_a_working_folder_that_was_removed(tmp_path, monkeypatch):
    (tmp_path / 'gone').mkdir()
    monkeypatch.chdir(tmp_path / 'gone')
    (tmp_path / 'gone').rmdir()
    with pytest.raises(InputError, match=r'^a/b: it is not writable; choose another path$'):
        check_folder('a/b')
    with pytest.raises(InputError, match=r'^a: it is not writable; choose another path$'):
        check_file('a/b.png')


def test_places_are_looked_at_and_left_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a').mkdir()
    (tmp_path / 'b').touch()
    for find_out, name in ((check_folder, 'a'), (check_folder, 'a/c/d'), (check_folder, '.')):
        find_out(name)
    for name in ('b', 'c', 'a/c/d.png'):
        check_file(tmp_path / name)
        check_file(name)
    for name, kind in (('a', 'a folder'), (os.devnull, 'a device')):
        with pytest.raises(InputError, match=f'^{name} is {kind}, not a file; choose'):
            check_file(name)
    monkeypatch.setattr(os, 'access', lambda place, mode: place != tmp_path / 'a')
    for find_out, name in ((check_folder, 'a'), (check_folder, 'a/c/d'), (check_file, 'a/e/f')):
        with pytest.raises(InputError, match=r'/a is not writable; choose another path$'):
            find_out(name)
    assert sorted(tmp_path.rglob('*')) == [tmp_path / 'a', tmp_path / 'b']


def test_places_without_room_for_files(tmp_path):
    """Not a folder of that name is missing, as the system says: there can be none."""
    (tmp_path / 'circle').symlink_to(tmp_path / 'circle')
    places = ['/proc/nothing/a/b', '/proc/self/a/b'] if os.path.isdir('/proc/self') else []
    for place in [tmp_path / 'circle/a/b', *places]:
        with pytest.raises(InputError, match=f'^{place}: it is not writable'):
            output_folder(place)
        with pytest.raises(InputError, match='a: it is not writable'):
            write_whole(place, 'text')
    if places:
        with pytest.raises(InputError, match=r'^/proc/self/a: it is not writable'):
            write_whole('/proc/self/a', 'text')


def test_text_is_utf8_and_bytes_are_bytes(tmp_path):
    write_whole(tmp_path / 'a', 'Größe')
    write_whole(tmp_path / 'b', b'\0\1')
    assert (tmp_path / 'a').read_bytes() == 'Größe'.encode()
    assert (tmp_path / 'b').read_bytes() == b'\0\1'


def test_permissions_follow_the_umask(tmp_path):
    (tmp_path / 'plain').touch()
    write_whole(tmp_path / 'whole', '')
    assert (tmp_path / 'whole').stat().st_mode == (tmp_path / 'plain').stat().st_mode


def test_a_second_run_in_a_folder_is_refused(tmp_path):
    pytest.importorskip('fcntl')
    with alone_in(tmp_path):
        with pytest.raises(InputError, match=f'another run is writing to {tmp_path}'):
            alone_in(tmp_path).__enter__()
        (tmp_path / 'other').mkdir()
        with alone_in(tmp_path / 'other'):
            pass
    with alone_in(tmp_path):
        pass


def test_forked_workers_do_not_hold_the_folder(tmp_path):
    pytest.importorskip('fcntl')
    reader, writer = os.pipe()
    with alone_in(tmp_path):
        if not (worker := os.fork()):
            os.write(writer, b'forked')
            signal.pause()
    os.read(reader, 1)
    try:
        with alone_in(tmp_path):  # while the worker still lives
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


@pytest.mark.parametrize(
    'name', ['a' * 255, 'a' * 250 + '.json', 'ü' * 125 + '.jpg', 'a.' + 'b' * 240, '.a', 'a\nb.png']
)
def test_names_as_long_as_a_file_system_takes(tmp_path, name):
    with whole_file(tmp_path / name) as aside:
        aside.write_text('whole')
        assert is_temporary(aside.name) and os.listdir(tmp_path) == [aside.name]
    assert os.listdir(tmp_path) == [name]


def test_names_that_are_no_utf8_do_not_break_texts(tmp_path):
    name = os.fsdecode(b'\xff.jpg')
    write_whole(tmp_path / name, f'left out: {name}')
    assert (tmp_path / name).read_text() == 'left out: \\udcff.jpg'


@pytest.mark.parametrize(
    ('name', 'shown'),
    [
        ('/a/\ufeffb\tä 中.png', r'/a/\ufeffb\tä 中.png'),
        (os.fsdecode(b'\xff.png'), r'\udcff.png'),
        ('a\n\N{TAG SPACE}.png', r'a\n\U000e0020.png'),
    ],
)
def test_what_cannot_be_seen_in_a_name(name, shown):
    assert printable(name) == printable(Path(name)) == shown


@pytest.mark.parametrize(
    ('name', 'limit', 'short'),
    [('abc', 3, 'abc'), ('abcd', 3, 'abc'), ('äöü', 6, 'äöü'), ('äöü', 5, 'äö'), ('äöü', 1, '')],
)
def test_a_name_keeps_as_many_letters_as_fit(name, limit, short):
    assert shortened(name, limit) == short


def test_what_a_kill_left_is_removed_and_what_is_being_written_stays(tmp_path):
    for name in ('.sweep.0123456789ab.json', '.x.0123456789ab', '.hidden', 'a.0123456789ab.json'):
        (tmp_path / name).touch()
    (tmp_path / 'below').mkdir()
    (tmp_path / 'below' / '.y.0123456789ab.png').touch()
    with whole_file(tmp_path / 'new.json') as aside:
        aside.write_text('half')
        remove_temporaries(tmp_path, tmp_path / 'nothing')
        left = set(os.listdir(tmp_path))
        if pytest.importorskip('fcntl'):
            assert left == {'.hidden', 'a.0123456789ab.json', 'below', aside.name}
    assert (tmp_path / 'new.json').read_text() == 'half'
    assert (tmp_path / 'below' / '.y.0123456789ab.png').exists()


def test_a_killed_writer_leaves_what_the_next_run_removes(tmp_path):
    pytest.importorskip('fcntl')
    if not (writer := os.fork()):
        with whole_file(tmp_path / 'new.json') as aside:
            aside.write_text('half')
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(writer, 0)
    assert len(os.listdir(tmp_path)) == 1
    remove_temporaries(tmp_path)
    assert os.listdir(tmp_path) == []
