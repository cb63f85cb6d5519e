"""Imports run one way: the floors of CONTRIBUTING.md."""

import ast

BASEMENT = {
    'errors',
    'few_names',
    'cli',
    'config_parts',
    'cores',
    'fileio',
    'folders',
    'images',
    'logs',
    'meeting',
    'options',
    'packaged',
    'picture_files',
    'safetensors_files',
    'stopping',
    'torch_files',
    'versions',
    '__version__',
}
FLOORS = {
    'corruptions': set(),
    'models': set(),
    'datasets': {'corruptions'},
    'engine': {'models'},
    'deploy': {'engine'},
    'evaluation': {'corruptions', 'datasets', 'engine'},
    'report': {'corruptions', 'evaluation'},
    'analysis': {'corruptions', 'models', 'datasets', 'engine', 'evaluation', 'report'},
    'jobs': {'models', 'datasets', 'engine', 'deploy', 'evaluation', 'report'},
}


def imported(path):
    """What of ``fan_mm`` a file imports, by the name below it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{path} imports relatively'
            names = [f'{node.module}.{alias.name}' for alias in node.names]
        else:
            continue
        yield from (name.split('.')[1] for name in names if name.startswith('fan_mm.'))


def test_nothing_imports_upward(repo_root):
    package = repo_root / 'fan_mm'
    folders = {p.name for p in package.iterdir() if (p / '__init__.py').is_file()}
    assert folders == FLOORS.keys()
    seen = {}
    for folder, below in FLOORS.items():
        seen[folder] = set()
        for path in (package / folder).rglob('*.py'):
            for name in imported(path):
                assert name in {folder} | below | BASEMENT, f'{path} imports fan_mm.{name}'
                seen[folder].add(name)
        assert below <= seen[folder], 'the table allows more than is used'
    for path in package.glob('*.py'):
        if path.name != '__init__.py':
            assert set(imported(path)) <= BASEMENT, path


def test_contributing_shows_the_same_floors(repo_root):
    rows = (repo_root / 'CONTRIBUTING.md').read_text().splitlines()
    for folder, below in FLOORS.items():
        row = next(row for row in rows if row.startswith(f'| `fan_mm/{folder}`'))
        last = row.split('|')[3].strip()
        assert last == (', '.join(sorted(below)) or 'the shared modules only')
