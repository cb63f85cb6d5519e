"""What the audit watches of a sweep, and what it says after the clean cell."""

from types import SimpleNamespace

import pytest

from fan_mm.evaluation.audit import auditor as module
from fan_mm.evaluation.audit.auditor import Auditor
from fan_mm.evaluation.audit.evidence import Seen
from fan_mm.evaluation.cells import Cell

CLEAN, CORRUPTED = Cell('clean', 0), (Cell('brightness', 1), Cell('fog', 1))  # before and after it
SEEN = Seen(pictures={0: 1, 1: 2})


def auditor(*metrics, classes=('a', 'b')):
    evaluator = SimpleNamespace(metrics=[SimpleNamespace(**metric) for metric in metrics])
    return Auditor('model', evaluator, 'dataset', ['x.png'], classes)


@pytest.mark.parametrize(
    ('metrics', 'ignored'),
    [
        ([], 255),
        ([{}], 255),
        ([{}, dict(ignore_index=7)], 7),
        ([dict(ignore_index=None), dict(ignore_index=0), dict(ignore_index=3)], 0),
    ],
)
def test_labels_that_the_metric_ignores(metrics, ignored, monkeypatch):
    monkeypatch.setattr(module, 'Watch', lambda *given: given)
    found = auditor(*metrics)
    assert found.watch(CLEAN) == ('model', True, ignored)
    for cell in CORRUPTED:
        assert found.watch(cell) == ('model', False, ignored)


@pytest.mark.parametrize(
    ('metainfo', 'left'),
    [({}, 3), (dict(label_map={0: 1}), 3), (dict(label_map={0: 1, 1: 255}), 0)],
)
def test_labels_of_classes_that_were_not_chosen_are_no_finding(metainfo, left, monkeypatch):
    seen = {'labels': 5, 'ignored': 3}
    monkeypatch.setattr(module, 'merged', lambda *_: dict(seen))
    found = Auditor(
        'model', SimpleNamespace(metrics=[]), SimpleNamespace(metainfo=metainfo), [], []
    )
    assert found.evidence(CORRUPTED[0], [SEEN]) == {'labels': 2 + left, 'ignored': left}


@pytest.mark.parametrize('crop', [None, {'size': [32, 32], 'looked_at': 16}])
def test_crops_are_looked_at_once_in_the_clean_cell(crop, monkeypatch):
    asked = []
    monkeypatch.setattr(module, 'cropped_twice', lambda *given: asked.append(given) or crop)
    found = auditor()
    for cell in CORRUPTED:
        assert 'cropped_twice' not in found.evidence(cell, [SEEN]) and not asked
    assert found.evidence(CLEAN, [SEEN]).get('cropped_twice') == crop
    assert asked == [('dataset', ['x.png'], 2)]


@pytest.mark.parametrize(('classes', 'known'), [((), None), (('a', 'b'), 2)])
def test_classes_may_not_be_known(classes, known, monkeypatch):
    monkeypatch.setattr(module, 'merged', lambda parts, number: {'classes': number})
    assert auditor(classes=classes).evidence(CORRUPTED[0], [SEEN]) == {'classes': known}
