"""A source of three pictures, and the command line in this process."""

import runpy

import pytest
from corrupted_files import TOOL, make_source


@pytest.fixture
def source(tmp_path):
    return make_source(tmp_path / 'cityscapes', 'cityscapes')


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run the command line in this process: (exit status, standard output, standard error)."""

    def run(*arguments):
        monkeypatch.setattr('sys.argv', [str(TOOL), *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(TOOL), run_name='__main__')
        return ended.value.code, *capsys.readouterr()

    return run
