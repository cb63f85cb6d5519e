"""Changes modules one place at a time and sees whether a test fails.

    python tests/mutation fan_mm/corruptions fan_mm/evaluation/metrics.py --per-module 8

Needs ``pip install cosmic-ray``, which makes the changes. A module's tests are those under the folder that
mirrors its own; which of them run a changed line is measured first. They run, quickest first, in forks
of a process with the libraries' imports done, in copies of the tree. What is known is kept in the session's
folder: a run that was stopped goes on, and after a change of tests only the survivors are tried again.
"""

import argparse
import difflib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'tests' / 'mutation'), str(ROOT / 'tests')]
OPTIONS = ['-q', '-x', '-p', 'no:cacheprovider', '-m', 'not slow and not campaign and not mutation']
BUDGET = 60  # seconds of tests for one mutant
# What tests a module where no file, or not only the one, has its name: under tests/.
TESTS = {
    **dict.fromkeys(('benchmarks', 'names'), 'test_corruptions/test_names_and_benchmarks.py'),
    'corruptions/__init__': 'test_corruptions/test_corrupt.py',
    'blur': 'test_corruptions/test_blur.py test_corruptions/test_corrupt.py',
    'digital': 'test_corruptions/test_digital.py test_corruptions/test_corrupt.py',
    'noise': 'test_corruptions/test_noise.py test_corruptions/test_corrupt.py',
    'weather': 'test_corruptions/test_weather.py test_corruptions/test_corrupt.py',
    **dict.fromkeys(('filters', 'glass_shuffle'), 'test_corruptions/test_corrupt.py'),
    'activation_checkpoint': 'test_models/test_fan_backbones.py',
    'calibration_metric': 'test_evaluation/test_calibration.py',
    'calibration_summary': 'test_report/test_calibration_report.py',
    'evaluation/comparison': 'test_report/test_comparison.py test_evaluation/test_results.py',
    'every_cell': 'test_evaluation/test_sweep_calibration.py test_evaluation/test_sweep.py',
    'gallery': 'test_evaluation/test_sweep.py',
    'imagenet_subsets': 'test_jobs/test_ood.py',
    'nested_transforms': 'test_evaluation/test_pipelines.py',
    'temperature': 'test_evaluation/test_calibration.py',
    'audit/finding': 'test_evaluation/test_audit/test_cell_checks.py',
    'audit/model_checks': 'test_evaluation/test_audit/test_injected_faults.py',
}


def imports() -> None:
    """What every test needs, but not `fan_mm`."""
    import mmdet
    import mmpretrain
    import mmseg
    import pytest  # noqa: F401
    import scipy.ndimage
    import torch  # noqa: F401

    for module in (mmseg, mmpretrain, mmdet):
        __import__(f'{module.__name__}.utils').utils.register_all_modules(init_default_scope=False)
    assert not any(name.partition('.')[0] == 'fan_mm' for name in sys.modules)


class Tree:
    """A copy of the checkout where one module at a time is changed."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        listed = ['git', '-C', ROOT, 'ls-files', '-z', '--cached', '--others', '--exclude-standard']
        for name in subprocess.check_output(listed, text=True).split('\0'):
            if name and (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        compiled = ['-m', 'compileall', '-q', '--invalidation-mode', 'checked-hash', folder / 'fan_mm']
        subprocess.run([sys.executable, *compiled], check=True)

    def start(self, tests: list[str], plugins: list, done=lambda: None) -> int:
        """Run tests in a fork; its number. It ends with pytest's status."""
        pid = os.fork()
        if pid:
            return pid
        status = 3
        try:
            os.setsid()
            os.chdir(self.root)
            log = os.open(self.root.with_suffix('.log'), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            sys.path[:0] = [str(self.root)]
            sys.path.remove(str(ROOT / 'tests'))
            os.environ['PYTHONPATH'] = f'{self.root}:{os.environ.get("PYTHONPATH", "")}'
            import pytest

            ended = int(pytest.main([*OPTIONS, '--rootdir', str(self.root), *tests], plugins))
            if ended in (0, 5):
                done()
            status = ended
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)


@dataclass
class Known:
    """What a session's folder holds: tests' lines per test file, and outcomes per mutant."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.outcomes = {}
        if (self.folder / 'outcomes.jsonl').exists():
            for line in (self.folder / 'outcomes.jsonl').read_text().splitlines():
                row = json.loads(line)
                self.outcomes[row['key']] = row

    def note(self, row: dict) -> None:
        self.outcomes[row['key']] = row
        with open(self.folder / 'outcomes.jsonl', 'a') as file:
            file.write(json.dumps(row) + '\n')

    def tests_of(self, module: str, tree: Tree) -> dict[str, tuple[float, dict]]:
        """Test -> seconds and lines, of all tests for a module; measured for files that are new."""
        from watch import Watch

        found = {}
        package = str(Path(module).parent)
        for file in files_for(module):
            name = str(file.relative_to(ROOT))
            digest = hashlib.sha1(file.read_bytes()).hexdigest()[:16]
            stored = self.folder / f'{file.stem}-{package.replace("/", "-")}-{digest}.json'
            if not stored.exists():
                watch = Watch(tree.root, package)

                def write(watch=watch, stored=stored):
                    content = {t: (watch.seconds[t], lines) for t, lines in watch.lines.items()}
                    stored.with_suffix('.part').write_text(json.dumps(content))
                    stored.with_suffix('.part').rename(stored)

                begin = time.monotonic()
                _, status = os.waitpid(tree.start([name], [watch], write), 0)
                print(f'{name}: {time.monotonic() - begin:.0f} s', flush=True)
                if os.waitstatus_to_exitcode(status) not in (0, 5):
                    print(tree.root.with_suffix('.log').read_text(errors='replace'))
                    sys.exit(f'{name} fails without a mutant')
            found |= json.loads(stored.read_text())
        return found


def files_for(module: str) -> list[Path]:
    """The test files for a module: those of `TESTS`, or under the deepest folder that mirrors its own.

    The one of its name, else that of its folder's name, else those that import it, else all.
    """
    folder = ROOT / 'tests'
    for words, names in TESTS.items():
        if module.endswith(f'/{words}.py'):
            return [folder / name for name in names.split()]
    *parts, name = Path(module).with_suffix('').parts[1:]
    for part in parts:
        if not (folder / f'test_{part}').is_dir():
            break
        folder /= f'test_{part}'
    files = sorted(folder.rglob('test_*.py'))
    for words in (f'test_{name}', f'test_{parts[-1]}'):
        if named := [file for file in files if file.stem == words]:
            return named
    importing = re.compile(rf'[. ]{name} import|import .*\b{name}\b')
    return [file for file in files if importing.search(file.read_text())] or files


def tests_for(mutant, tests: dict[str, tuple[float, dict]]) -> list[str]:
    """The tests that run the changed line, quickest first, else those that run the module."""
    from watch import line_key

    key = line_key((ROOT / mutant.module).read_text().splitlines()[mutant.line - 1])
    of_module = [test for test, (_, lines) in tests.items() if mutant.module in lines]
    of_line = [test for test in of_module if key in tests[test][1][mutant.module]]
    chosen, seconds = [], 0.0
    for test in sorted(of_line or of_module, key=lambda test: tests[test][0]):
        seconds += tests[test][0]
        if seconds < BUDGET or not chosen:
            chosen.append(test)
    return chosen


def diff(mutant) -> str:
    before = (ROOT / mutant.module).read_text().splitlines()
    lines = difflib.unified_diff(before, mutant.text.splitlines(), n=0, lineterm='')
    return '\n'.join(list(lines)[3:])


def modules_of(paths: list[str]) -> Iterator[str]:
    for path in paths:
        files = sorted((ROOT / path).rglob('*.py')) if (ROOT / path).is_dir() else [ROOT / path]
        for file in files:
            yield str(file.relative_to(ROOT))


def wait(running: dict, known: Known) -> None:
    """Until one of the running mutants has its outcome, which is noted; its tree is put back."""
    while True:
        for pid, (mutant, tree, row, limit) in running.items():
            found, status = os.waitpid(pid, os.WNOHANG)
            late = time.monotonic() > limit
            if not found and not late:
                continue
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            if not found:
                os.waitpid(pid, 0)
            ended = 'timeout' if not found else os.waitstatus_to_exitcode(status)
            row['outcome'] = 'survived' if ended in (0, 5) else 'killed'
            row['by'] = 'timeout' if late else killer(tree)
            shutil.copy(ROOT / mutant.module, tree.root / mutant.module)
            known.note(row)
            del running[pid]
            return
        time.sleep(0.05)


def killer(tree: Tree) -> str:
    """The test that failed."""
    for line in tree.root.with_suffix('.log').read_text(errors='replace').splitlines():
        if line.startswith(('FAILED', 'ERROR')):
            return line.split(' - ')[0]
    return ''


def equivalent() -> set[tuple[str, str]]:
    """Module and changed line of the mutants that were looked at and cannot be noticed."""
    text = (ROOT / 'tests' / 'mutation' / 'equivalent.txt').read_text()
    rows = [line.split(': ', 1) for line in text.splitlines() if line and line[0] not in '# ']
    return {(module, change.strip()) for module, change in rows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('paths', nargs='+', help='modules, or folders of modules, from the checkout')
    parser.add_argument('--per-module', type=int, default=5, help='mutants of each module')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--session', type=Path, default=ROOT / 'work_dirs' / 'mutation')
    parser.add_argument('--jobs', type=int, default=1)
    parser.add_argument('--least', type=float, default=95, help='per cent killed that are asked for')
    args = parser.parse_args()

    from mutants import sample

    known = Known(args.session.absolute())
    same = equivalent()
    imports()
    counts = defaultdict(lambda: [0, 0])
    survivors = []
    with tempfile.TemporaryDirectory(prefix='mutants') as folder:
        trees = [Tree(Path(folder, f'tree{i}')) for i in range(args.jobs)]
        running, rows = {}, []
        for module in modules_of(args.paths):
            package = str(Path(module).parent)
            mutants = [
                mutant
                for mutant in sample(ROOT, module, args.per_module, args.seed)
                if not any((module, line[1:].strip()) in same for line in diff(mutant).splitlines()[1:])
            ]
            if not mutants:
                continue
            while running:
                wait(running, known)
            tests = known.tests_of(module, trees[0])
            for mutant in mutants:
                chosen = tests_for(mutant, tests)
                key = hashlib.sha1(f'{module} {mutant.text}'.encode()).hexdigest()[:16]
                asked = hashlib.sha1(
                    b''.join(
                        (ROOT / f).read_bytes() for f in sorted({t.partition('::')[0] for t in chosen})
                    )
                ).hexdigest()[:16]
                row = known.outcomes.get(key)
                if row and (row['outcome'] == 'killed' or row['tests'] == asked):
                    rows.append(row)
                    continue
                row = dict(key=key, module=module, line=mutant.line, operator=mutant.operator)
                row |= dict(tests=asked, count=len(chosen), diff=diff(mutant))
                rows.append(row)
                if not chosen:
                    known.note(row | dict(outcome='survived'))
                    row['outcome'] = 'survived'
                    continue
                if len(running) == len(trees):
                    wait(running, known)
                busy = [tree for _, tree, *_ in running.values()]
                tree = next(tree for tree in trees if tree not in busy)
                (tree.root / module).write_text(mutant.text)
                limit = time.monotonic() + 30 + 4 * sum(tests[test][0] for test in chosen)
                from watch import Only

                files = sorted({test.partition('::')[0] for test in chosen})
                pid = tree.start(files, [Only(chosen)])
                running[pid] = mutant, tree, row, limit
            while running:
                wait(running, known)
            mine = [row for row in rows if row['module'] == module]
            killed = sum(row['outcome'] == 'killed' for row in mine)
            print(f'{module}: {killed} of {len(mine)}', flush=True)
            counts[package][0] += killed
            counts[package][1] += len(mine)
            for row in mine:
                if row['outcome'] == 'survived':
                    survivors.append(row)
                    print(f'  survived: {row["operator"]}, {row["count"]} tests\n{row["diff"]}', flush=True)
    for package, (killed, count) in counts.items():
        print(f'{package}: {killed} of {count} killed, {100 * killed / max(count, 1):.1f} %')
    killed, count = (sum(column) for column in zip(*counts.values(), strict=True))
    print(f'all: {killed} of {count} killed, {100 * killed / count:.1f} %')
    return int(100 * killed < args.least * count)


if __name__ == '__main__':
    sys.exit(main())
