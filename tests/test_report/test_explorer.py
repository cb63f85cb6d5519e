"""The pictures of the explorer: how many a page has room for."""

import json
import re

import pytest
from synthetic_results import add_gallery, synthetic_results

from fan_mm.report import explorer


@pytest.mark.parametrize(('severities', 'first'), [((1, 3, 5), 3), ((1,), 1), ((4, 5), 4)])
def test_the_first_severity_is_one_that_has_images(tmp_path, severities, first):
    results = add_gallery(synthetic_results(), tmp_path, 1, severities)
    page = ''.join(explorer.explorer(results, tmp_path))
    assert re.search(r'<input[^>]*>', page)[0].count(f'value="{first}"') == 1


@pytest.mark.parametrize(('room', 'shown'), [(explorer.BUDGET, 3), (1, 1)])
def test_samples_beyond_the_budget_are_left_out_but_one_is_always_shown(
    tmp_path, monkeypatch, room, shown
):
    monkeypatch.setattr(explorer, 'BUDGET', room)
    results = synthetic_results()
    add_gallery(results, tmp_path, 3)
    key = 'a/<!--<script></script>'  # may not end the data, nor hide their end
    for entry in results['gallery']:
        entry['key'] = entry['key'].replace('frankfurt/frankfurt_000000', key)
    page = ''.join(explorer.explorer(results, tmp_path))
    data = re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)[1]
    assert len(json.loads(data)['samples']) == shown
    assert json.loads(data)['samples'][0]['key'] == key and '<' not in data
    assert (f'{3 - shown} more do not fit here' in page) == (shown < 3)
