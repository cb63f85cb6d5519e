"""The tutorial notebook runs from its first cell to its last, shortened."""

import pytest

nbformat = pytest.importorskip('nbformat')
nbclient = pytest.importorskip('nbclient')
pytest.importorskip('ipykernel')
pytest.importorskip('mmseg')


@pytest.mark.slow
def test_it_runs(repo_root, tmp_path, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', str(repo_root))
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    notebook = nbformat.read(repo_root / 'docs/tutorial.ipynb', as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get('outputs') for cell in notebook.cells)
    first = next(cell for cell in notebook.cells if cell.cell_type == 'code')
    for whole, short in {'= 400 ': '= 4 ', '= 300, 16 ': '= 8, 2 '}.items():
        assert whole in first.source
        first.source = first.source.replace(whole, short)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name='python3').execute(cwd=tmp_path)
    shown = [output for cell in notebook.cells for output in cell.get('outputs', ())]
    assert sum('image/png' in output.get('data', {}) for output in shown) == 5
    assert any('retention' in output.get('text', '') for output in shown)
    assert (tmp_path / 'work_dirs/tutorial/robustness/report.html').is_file()
