"""Changes modules at one place at a time and sees whether a test fails.

    python tests/mutation fan_mm/corruptions fan_mm/evaluation/metrics.py --per-module 8

Needs ``pip install cosmic-ray``, which makes the changes. The tests that run a changed line are found by
watching a module's tests once; they run, quickest first, in forks of a process whose imports are done, in a
copy of the tree. What is known is kept in the session's folder: a run that was stopped goes on, and after a
change of tests only the survivors are tried again.
"""

import argparse
import difflib
import hashlib
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'mutation'))

import selection  # noqa: E402
from mutants import Mutant, sample  # noqa: E402
from trees import Run, Tree, imports  # noqa: E402
from watch import Only, Watch  # noqa: E402


class Session:
    """What is known: the lines that tests run, and what became of mutants.

    Args:
        folder: made if missing.
        tree: where tests are watched.
    """

    def __init__(self, folder: Path, tree: Tree) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.tree = folder, tree
        self.file = folder / 'outcomes.jsonl'
        lines = self.file.read_text().splitlines() if self.file.exists() else ()
        self.outcomes = {row['key']: row for row in map(json.loads, lines)}

    def note(self, row: dict) -> None:
        """Keep the outcome of a mutant."""
        self.outcomes[row['key']] = row
        with open(self.file, 'a') as file:
            file.write(json.dumps(row) + '\n')

    def digest(self, files: list[str]) -> str:
        """Of the content of some files."""
        content = b''.join((self.tree.root / file).read_bytes() for file in files)
        return hashlib.sha1(content).hexdigest()[:16]

    def is_known(self, row: dict) -> bool:
        """Whether a mutant was killed, or survived the very tests that there are."""
        before = self.outcomes.get(row['key'], {})
        return before.get('outcome') == 'killed' or before.get('tests') == row['tests']

    def tests(self, module: str) -> selection.Tests:
        """The tests for a module, watched where their file is new.

        Raises:
            SystemExit: one fails without a mutant.
        """
        package = str(Path(module).parent)
        found = {}
        for file in selection.files_for(self.tree.root, module):
            digest = self.digest([str(file.relative_to(self.tree.root))])
            stored = self.folder / f'{file.stem}-{package.replace("/", "-")}-{digest}.json'
            if not stored.exists():
                begin = time.monotonic()
                self._watch(str(file.relative_to(self.tree.root)), package, stored)
                print(f'watched {file.name} in {time.monotonic() - begin:.0f} s', flush=True)
            found |= json.loads(stored.read_text())
        return found

    def _watch(self, name: str, package: str, stored: Path) -> None:
        watch = Watch(self.tree.root, package)

        def write() -> None:
            content = {test: (watch.seconds[test], lines) for test, lines in watch.lines.items()}
            stored.with_suffix('.part').write_text(json.dumps(content))
            stored.with_suffix('.part').rename(stored)

        run = Run(self.tree, [name], watch, limit=3600, at_end=write)
        while run.status() is None:
            time.sleep(0.1)
        if run.status() not in (0, 5):
            sys.exit(f'{run.output()}\n{name} fails without a mutant')


def difference(root: Path, mutant: Mutant) -> str:
    """The changed lines, before and after."""
    before = (root / mutant.module).read_text().splitlines()
    lines = difflib.unified_diff(before, mutant.text.splitlines(), n=0, lineterm='')
    return '\n'.join(list(lines)[3:])


def equivalent() -> set[tuple[str, str]]:
    """Module and line of the mutants that were looked at and that nobody can notice."""
    text = (ROOT / 'tests' / 'mutation' / 'equivalent.txt').read_text()
    rows = (line.split(': ', 1) for line in text.splitlines() if line and not line.startswith('#'))
    return {(module, change.strip()) for module, change in rows}


def modules_of(paths: list[str]) -> Iterator[str]:
    """The modules below some paths of the checkout."""
    for path in paths:
        for file in sorted((ROOT / path).rglob('*.py')) or [ROOT / path]:
            yield str(file.relative_to(ROOT))


def try_module(module: str, args: argparse.Namespace, session: Session) -> list[dict]:
    """Try a sample of a module's mutants; what became of each."""
    unnoticed, rows, tests = equivalent(), [], None
    root = session.tree.root
    for mutant in sample(root, module, args.per_module, args.seed):
        changed = difference(root, mutant)
        lines = [line[1:].strip() for line in changed.splitlines() if line.startswith('+')]
        if any((module, line) in unnoticed for line in lines):
            continue
        tests = session.tests(module) if tests is None else tests
        chosen = selection.tests_for(root, mutant, tests)
        files = sorted({test.partition('::')[0] for test in chosen})
        row = dict(
            key=hashlib.sha1(f'{module} {mutant.text}'.encode()).hexdigest()[:16],
            module=module,
            line=mutant.line,
            operator=mutant.operator,
            diff=changed,
            count=len(chosen),
            tests=f'{session.digest(files)}-{len(chosen)}',
            outcome='survived',
        )
        if not session.is_known(row):
            if chosen:
                limit = 30 + 4 * sum(tests[test][0] for test in chosen)
                with session.tree.changed(module, mutant.text):
                    run = Run(session.tree, files, Only(chosen), limit)
                    while run.status() is None:
                        time.sleep(0.05)
                if run.status() not in (0, 5):
                    row |= dict(outcome='killed', by=run.failed())
            session.note(row)
        rows.append(session.outcomes[row['key']])
    return rows


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'paths', nargs='+', help='modules, or folders of modules, from the checkout'
    )
    parser.add_argument('--per-module', type=int, default=5, help='mutants of each module')
    parser.add_argument('--seed', type=int, default=0, help='of the sample')
    parser.add_argument('--session', type=Path, default=ROOT / 'work_dirs' / 'mutation')
    parser.add_argument('--least', type=float, default=95, help='per cent that must be killed')
    args = parser.parse_args()
    imports()
    counts = defaultdict(lambda: [0, 0])
    with tempfile.TemporaryDirectory(prefix='mutants') as folder:
        session = Session(args.session.absolute(), Tree(ROOT, Path(folder, 'tree')))
        for module in modules_of(args.paths):
            rows = try_module(module, args, session)
            killed = sum(row['outcome'] == 'killed' for row in rows)
            print(f'{module}: {killed} of {len(rows)}', flush=True)
            for row in rows:
                if row['outcome'] == 'survived' or not row['by']:  # it may be an endless loop
                    end = 'survived' if row['outcome'] == 'survived' else 'used up the time of'
                    print(
                        f'  {row["operator"]} {end} {row["count"]} tests\n{row["diff"]}', flush=True
                    )
            for name in (str(Path(module).parent), 'all'):
                counts[name][0] += killed
                counts[name][1] += len(rows)
    for name, (killed, count) in sorted(counts.items(), key=lambda item: (item[0] == 'all', item)):
        print(f'{name}: {killed} of {count} killed, {100 * killed / max(1, count):.1f} %')
    killed, count = counts['all']
    return int(100 * killed < args.least * count)


if __name__ == '__main__':
    sys.exit(main())
