import os

import pytest

from fan_mm.fileio import whole_file, write_whole


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


def test_text_is_utf8_and_bytes_are_bytes(tmp_path):
    write_whole(tmp_path / 'a', 'Größe')
    write_whole(tmp_path / 'b', b'\0\1')
    assert (tmp_path / 'a').read_bytes() == 'Größe'.encode()
    assert (tmp_path / 'b').read_bytes() == b'\0\1'


def test_permissions_follow_the_umask(tmp_path):
    (tmp_path / 'plain').touch()
    write_whole(tmp_path / 'whole', '')
    assert (tmp_path / 'whole').stat().st_mode == (tmp_path / 'plain').stat().st_mode
