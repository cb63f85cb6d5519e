"""benchmarks/gpu runs from end to end, in the small form that it has without a GPU."""

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest
import torch
import warm_python
from packaging.requirements import Requirement

pytest.importorskip('mmseg')


@pytest.fixture(scope='module')
def gpu(repo_root):
    """The benchmark's modules."""
    sys.path[:0] = [str(repo_root / 'benchmarks'), str(repo_root)]
    yield pytest.importorskip('gpu.acceptance'), pytest.importorskip('gpu.results')
    del sys.path[:2]


@pytest.mark.slow
def test_every_section_runs(repo_root, tmp_path, gpu):
    out = tmp_path / 'out'
    done = subprocess.run(
        ['bash', repo_root / 'benchmarks/gpu/run.sh', out],
        env=os.environ
        | dict(PYTHON=warm_python.python(), OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES=''),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr + (out / 'acceptance.log').read_text()
    rows = [json.loads(line) for line in (out / 'acceptance.jsonl').read_text().splitlines()]
    sections = Counter(row['section'] for row in rows)
    assert set(sections) == {name for group in gpu[0].SECTIONS for name in group}
    assert all(count > 1 for count in sections.values()), sections
    assert [row for row in rows if not row.get('holds', True)] == []
    assert {path.name for path in out.iterdir()} == {
        f'acceptance.{s}' for s in ('jsonl', 'md', 'log')
    }
    page = (out / 'acceptance.md').read_text()
    assert page in done.stdout + '\n'
    assert 'small form' in page.splitlines()[0]
    assert page.count('## ') == len(sections)


def test_times_are_medians_of_events_in_turn(gpu, monkeypatch):
    """On a GPU, here with a clock in its place."""
    timing = pytest.importorskip('gpu.timing')
    clock, order = [0.0], []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            self.time = clock[0]

        def synchronize(self):
            assert self.time >= 0

        def elapsed_time(self, end):
            return end.time - self.time

    def work(name, milliseconds):
        def run():
            order.append(name)
            clock[0] += next(milliseconds)

        return run

    monkeypatch.setattr(timing.torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(timing.torch.cuda, 'Event', Event)
    monkeypatch.setattr(timing.torch.cuda, 'synchronize', lambda: None)
    slow = itertools.chain([900.0] * 2, itertools.cycle([700.0, 800.0, 4000.0]))
    found = timing.medians(
        {'slow': work('slow', slow), 'fast': work('fast', itertools.repeat(0.5))}
    )
    assert found == {'slow': 800.0, 'fast': 0.5}
    rounds = [name for name, _ in itertools.groupby(order)]
    assert rounds == ['slow', 'fast'] * 4  # the warm-up, then three rounds
    assert order.count('slow') == 2 + 3 and order.count('fast') == 4 + 3 * 10


@pytest.mark.parametrize('place', [0, 1])
def test_a_gradient_that_is_no_number_does_not_hold(gpu, place):
    """Whichever of them it is."""
    exactness = pytest.importorskip('gpu.exactness')

    def product(x, y):
        for i, tensor in enumerate((x, y)):
            if i == place and x.dtype != torch.float64:
                tensor.register_hook(lambda gradient: gradient * float('nan'))
        return x * y

    inputs = torch.randn(2, 1, 3, 3, 4)
    row = exactness.compare_operators(product, torch.mul, tuple(inputs), torch.float32, 1e-3)
    assert not row['holds']
    row = exactness.compare_operators(torch.mul, torch.mul, tuple(inputs), torch.float32, 1e-3)
    assert row['holds'] and row['worst'] < 1e-6


@pytest.mark.parametrize('size', ['3', '7'])
def test_kernels_and_their_candidates_are_compared_on_the_same_inputs(gpu, monkeypatch, size):
    pytest.importorskip('triton')
    tiles, columns = (pytest.importorskip(f'gpu.{n}') for n in ('tiles', 'depthwise_columns'))
    from fan_mm.models.kernels import depthwise_triton

    for kernels in (depthwise_triton, columns):
        monkeypatch.setattr(kernels, 'convolve', lambda x, weight, *_: x * weight.sum((1, 2, 3)))
        monkeypatch.setattr(kernels, 'gradients', lambda g, x, weight: (g * x, weight))
    monkeypatch.setattr(tiles, 'captured', lambda way: way)
    monkeypatch.setattr(tiles, 'STEM', (1, 2, 3, 4))
    monkeypatch.setattr(tiles, 'HIDDEN', (1, 3, 2, 8))
    for what in tiles.DEPTHWISE:
        row = tiles.compare(what, size, [(1, 2, 3, 4, 5)])
        assert row['difference'] == 0 and row['holds'], what


def test_chosen_sections_run_in_the_order_asked_for(gpu, tmp_path, monkeypatch):
    acceptance, results = gpu
    program = "import sys, time; print(sys.argv[1]); time.sleep(60 * (sys.argv[1] == 'runs'))"
    monkeypatch.setattr(
        acceptance, 'command', lambda out, section: [sys.executable, '-c', program, section]
    )
    monkeypatch.setattr(acceptance.torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(acceptance, 'machine', lambda: 'a GPU')
    monkeypatch.setattr(acceptance.signal, 'signal', lambda *_: None)
    monkeypatch.setattr(sys, 'argv', ['run.sh', str(tmp_path), 'gradients', 'runs=2', 'exactness'])
    assert acceptance.main() == 1
    rows = [(row['section'], row['holds']) for row in results.read(tmp_path / 'acceptance.jsonl')]
    assert rows == [('gradients', True), ('runs', False), ('exactness', True)]
    monkeypatch.setattr(sys, 'argv', ['run.sh', str(tmp_path), 'camvid'])
    acceptance.main()  # behind those there
    found = results.read(tmp_path / 'acceptance.jsonl')
    assert [row['section'] for row in found] == [*(name for name, _ in rows), 'camvid']
    assert (tmp_path / 'acceptance.log').read_text().split() == [row['section'] for row in found]


@pytest.mark.parametrize('wrong', ['gradient', 'runs=', 'runs=soon', 'runs=1.5', ''])
def test_sections_that_are_none(gpu, wrong):
    with pytest.raises(argparse.ArgumentTypeError):
        gpu[0].chosen(wrong)


def test_it_fits_into_eight_minutes(gpu):
    acceptance, _ = gpu
    limits = [max(group.values()) + acceptance.PATIENCE for group in acceptance.SECTIONS]
    assert sum(limits) <= 480


THERE = [
    'torch',
    'numpy',
    'opencv-python',
    'matplotlib',
    'scipy',
    'rich',
    'pyyaml',
    'regex',
    'pillow',
    'packaging',
]
NEVER_IMPORTED = ['importlib-metadata']
STACK = ['onedl-mmengine', 'onedl-mmcv', 'onedl-mmsegmentation', 'onedl-mmpretrain']


def test_collected_wheels_are_all_that_the_stack_needs(repo_root):
    """Beyond what the page says is there."""
    text = (repo_root / 'benchmarks/gpu/collect.sh').read_text()
    collected = set(re.search("needs='(.*)'", text)[1].split())
    queue, seen = list(STACK), {*STACK, *THERE, *NEVER_IMPORTED}
    while queue:
        name = queue.pop()
        try:
            requirements = map(Requirement, metadata.requires(name) or [])
        except metadata.PackageNotFoundError:
            pytest.skip(f'{name} is not installed')
        for requirement in requirements:
            needed = requirement.name.lower().replace('_', '-')
            wanted = requirement.marker is None or requirement.marker.evaluate()
            if wanted and needed not in seen:
                assert needed in collected, f'{needed}, for {name}'
                seen.add(needed)
                queue.append(needed)


def alive(pid):
    try:
        return Path('/proc', pid, 'stat').read_text().split()[2] != 'Z'
    except FileNotFoundError:
        return False


def test_a_section_that_fails_or_takes_too_long_is_a_row(gpu, tmp_path, monkeypatch):
    acceptance, results = gpu
    started = tmp_path / 'started'
    programs = dict(
        good='',
        broken='raise SystemExit(3)',
        # with a process of its own, which must end too
        slow=f"import subprocess; subprocess.run('echo $$ > {started}; exec sleep 3600', shell=True)",
    )
    monkeypatch.setattr(
        acceptance, 'command', lambda out, section: [sys.executable, '-c', programs[section]]
    )
    runs = [acceptance.Run(tmp_path, section, 3.0) for section in programs]
    while runs:
        runs = [run for run in runs if run.goes_on()]
    deadline = time.monotonic() + 300
    while alive(started.read_text().strip()):
        assert time.monotonic() < deadline
    rows = {row['section']: row for row in results.read(tmp_path / 'acceptance.jsonl')}
    assert [rows[section]['holds'] for section in programs] == [True, False, False]
    assert rows['broken']['error'] == 'exit status 3, see acceptance.log'
    assert rows['slow']['error'] == 'stopped at its time limit'


def test_a_case_that_fails_is_a_row_and_the_next_goes_on(gpu, tmp_path, capsys):
    _, results = gpu
    found = results.Results(tmp_path / 'rows.jsonl', 'speed')
    with found.case('too large') as row:
        row['way'] = 'ours'
        raise RuntimeError('out of memory\nmore of it')
    with found.case('fits') as row:
        row |= dict(ms=0.001234, holds=True)
    with found.guard('built'):
        pass
    first, second = results.read(found.path)
    assert first['error'] == 'RuntimeError: out of memory' and first['holds'] is False
    assert 'more of it' in capsys.readouterr().err
    page = results.markdown('GPU', [first, second])
    assert '1 of 2 claims hold.' in page and '- speed: too large' in page
    assert '| case | way | holds | error | ms |' in page
    assert '| fits |  | yes |  | 1.2e-03 |' in page


@pytest.mark.parametrize('fails', [False, True])
def test_camvid_reports_what_was_measured_and_keeps_no_weights(gpu, tmp_path, monkeypatch, fails):
    camvid = pytest.importorskip('gpu.camvid')
    assert set(gpu[0].ON_REQUEST) == {'tiles', 'camvid'}
    cells = [dict(status='done'), dict(status='done')]
    mean = dict(value=20.0, interval=[18.04, 22.0])
    summary = dict(clean=40.0, mean=mean, retention=dict(value=50.0, interval=None))
    found = dict(metric=dict(name='mIoU'), summary=summary, cells=cells)

    def reproduce(work, options):
        assert options == ['--dry-run']
        (work / 'mit_b0/robustness').mkdir(parents=True)
        (work / 'mit_b0/robustness/results.json').write_text(json.dumps(found))
        (work / 'mit_b0/iter_1600.pth').touch()
        (work / 'mit_b0.train.log').touch()
        if fails:
            raise subprocess.CalledProcessError(1, 'bash')

    monkeypatch.setattr(camvid, 'reproduce', reproduce)
    monkeypatch.setattr(camvid.signal, 'signal', lambda *_: None)
    results = gpu[1].Results(tmp_path / 'acceptance.jsonl', 'camvid')
    camvid.measure(results, small=True)
    whole, model = gpu[1].read(results.path)
    assert whole['holds'] is not fails
    assert (model['case'], model['mIoU'], model['mean']) == ('mit_b0', 40.0, 20.0)
    assert (model['mean, 95 %'], model['retention, 95 %']) == ('18.0 to 22.0', '')
    kept = {
        str(path.relative_to(tmp_path / 'camvid')) for path in (tmp_path / 'camvid').rglob('*.*')
    }
    assert kept == {'mit_b0.train.log', 'mit_b0/robustness/results.json'}
