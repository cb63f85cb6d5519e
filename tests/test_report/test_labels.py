"""Names of results: one each."""

import pytest

from fan_mm.report.labels import unique_names


@pytest.mark.parametrize(
    ('names', 'folders', 'unique'),
    [
        ('mn', 'xx', ['m', 'n']),
        ('mm', ['seed_0/sweep', 'seed_1/sweep'], ['m (seed_0)', 'm (seed_1)']),
        ('mmm', 'aab', ['m (1)', 'm (2)', 'm (3)']),
        (['m', 'm', 'm (a)'], 'abc', ['m (a) (1)', 'm (b)', 'm (a) (3)']),
    ],
)
def test_names(names, folders, unique):
    results = [dict(model=dict(name=name)) for name in names]
    assert unique_names(results, [f'{folder}/results.json' for folder in folders]) == unique
