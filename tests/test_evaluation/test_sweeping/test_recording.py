"""A cell's record: from the scores or the error of all processes, and what ends a sweep at once."""

from types import SimpleNamespace

import pytest
from mmengine.evaluator import BaseMetric, Evaluator

from fan_mm.corruptions import TOO_SMALL
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.collected import Scores
from fan_mm.evaluation.every_cell import EveryCellFails
from fan_mm.evaluation.scores import NoScore
from fan_mm.evaluation.sweeping import recording
from fan_mm.evaluation.sweeping.gathering import RankPart

FOG = Cell('fog', 3)
PATHS = ['a.png', 'b.png', 'c.png']


class Metric(BaseMetric):
    def process(self, data_batch, data_samples):
        raise NotImplementedError

    def compute_metrics(self, results):
        raise NotImplementedError


class Store:
    protocol = 'FAN'

    def __init__(self, folder):
        self.folder, self.records = folder, []

    def put_image(self, name, data):
        return name

    def put(self, record, **arrays):
        self.records.append((record, arrays))


class Sweep:
    """A recording, and what is around it: each keeps what it was told."""

    def __init__(self, found=50.0, folder='there', more=True, goes_on=False):
        self.found, self.failed, self.facts, self.seen = found, [], [], []
        self.store = Store(folder)
        auditor = SimpleNamespace(
            evidence=lambda cell, parts: self.seen.append(parts) or {'cell': str(cell)},
            say=self.facts.append,
            classes=('road',),
        )
        metrics = SimpleNamespace(scores=self.scores, evaluator=Evaluator([Metric()]))
        every_cell = SimpleNamespace(metric_failed=lambda *args: self.failed.append(args))
        self.recording = recording.Recording(
            self.store, metrics, every_cell, auditor, PATHS, more, goes_on
        )

    def scores(self, of_ranks):
        if isinstance(self.found, Exception):
            raise self.found
        matches = {'bbox': SimpleNamespace(arrays=lambda kind: {f'matches/{kind}': 'matched'})}
        metrics = {'mIoU': self.found, 'aAcc': 90.0}
        return Scores(
            't', 'mIoU', metrics, {'IoU': {}}, 'iou', 'sums', matches=matches
        ), 'calibrated'

    def record(self, cell, *parts):
        outcome = self.recording.record(cell, parts or [RankPart()])
        ((record, arrays),) = self.store.records
        assert record.cell == cell and record.samples == 3
        assert record.status == ('done' if outcome.done else 'failed')
        return outcome, record, arrays


@pytest.mark.parametrize('cell', [CLEAN, FOG])
def test_scores_are_stored(cell):
    sweep = Sweep()
    outcome, record, arrays = sweep.record(cell)
    assert outcome == (True, 'mIoU 50.0', False) and str(outcome) == 'mIoU 50.0'
    assert record.metrics == {'mIoU': 50.0, 'aAcc': 90.0} and record.per_class == {'IoU': {}}
    assert record.error is None and record.evidence == {'cell': str(cell)}
    matched = {'matches/bbox': 'matched'} if cell == CLEAN else {}
    assert arrays == {'statistics': 'sums', 'calibration': 'calibrated', **matched}
    assert [(f.records, f.headline, f.classes) for f in sweep.facts] == [
        ([record], 'mIoU', ('road',))
    ] * (cell == CLEAN)


def test_within_a_training_nothing_is_said():
    sweep = Sweep(folder=None)
    sweep.record(CLEAN)
    assert sweep.facts == []


def test_what_all_processes_saw(monkeypatch):
    monkeypatch.setattr(recording.time, 'monotonic', lambda: 7.0)
    parts = [
        RankPart(seconds=3.0, seen='one', pictures={2: {'image': b'\xff\xd8\xff\xd9'}}),
        RankPart(seconds=5.0016, seen='two', pictures={0: {'image': b'\xff\xd8\xff\xd9'}}),
    ]
    sweep = Sweep()
    _, record, _ = sweep.record(FOG, *parts)
    assert record.seconds == 5.002 and sweep.seen == [['one', 'two']]
    assert len(record.images) == 2 and record.images[0]['key'] != record.images[1]['key']


@pytest.mark.parametrize(
    ('parts', 'lasting'),
    [
        ([RankPart(), RankPart(error='no such file')], False),
        ([RankPart(error='no such file'), RankPart(error='other')], False),
        ([RankPart(error='no such file', lasting=True), RankPart()], True),
    ],
)
@pytest.mark.parametrize('cell', [CLEAN, FOG])
def test_an_error_of_a_process(cell, parts, lasting):
    for part in parts:
        part.pictures = {0: {'image': b''}}
    outcome, record, arrays = Sweep(goes_on=True).record(cell, *parts)
    assert outcome == (False, 'no such file', lasting) and str(outcome) == 'failed, no such file'
    assert record.error == 'no such file' and record.images == [] and arrays == {}


@pytest.mark.parametrize(('cell', 'more', 'goes_on', 'ends'), [
    (CLEAN, True, False, True),
    (CLEAN, True, True, False),
    (CLEAN, False, False, False),
    (FOG, True, False, False),
])  # fmt: skip
def test_clean_images_that_cannot_be_read(cell, more, goes_on, ends):
    sweep = Sweep(more=more, goes_on=goes_on)
    part = RankPart(error='a.png is damaged', lasting=True)
    if ends:
        with pytest.raises(
            EveryCellFails, match=r'^the clean images cannot .* a\.png is damaged; the'
        ):
            sweep.record(cell, part)
    else:
        assert not sweep.record(cell, part)[0].done


def test_images_that_are_too_small_for_any_corruption():
    with pytest.raises(EveryCellFails, match=f'^fog/3 fails, and so would .*: {TOO_SMALL} 3 x 3$'):
        Sweep().record(FOG, RankPart(error=f'{TOO_SMALL} 3 x 3'))


@pytest.mark.parametrize(
    ('cell', 'more', 'folder', 'ends'),
    [
        (CLEAN, True, 'there', True),
        (CLEAN, False, 'there', False),
        (CLEAN, True, None, False),  # within a training
        (FOG, True, 'there', False),
    ],
)
def test_clean_images_without_a_score(cell, more, folder, ends):
    sweep = Sweep(None, folder, more)
    if ends:
        with pytest.raises(EveryCellFails, match=r'^the clean images have no mIoU'):
            sweep.record(cell)
    else:
        assert sweep.record(cell)[0] == (True, 'mIoU None', False)


def test_a_metric_that_fails(monkeypatch):
    logged = []
    monkeypatch.setattr(recording, 'print_log', lambda text, *_: logged.append(text))
    error = ValueError('one class only\nand more')
    sweep = Sweep(error)
    outcome, record, arrays = sweep.record(FOG)
    assert outcome == (False, 'ValueError: one class only', False)
    assert record.error == outcome.text and arrays == {} and sweep.failed == [(FOG, error)]
    (text,) = logged
    assert text.startswith('fog/3:\nTraceback') and 'and more' in text


def test_a_metric_without_a_score():
    """On the clean images it has none in any cell; on corrupted ones, perhaps where nothing is detected."""
    error = NoScore('Own returned nothing')
    with pytest.raises(NoScore, match=r'^Own returned nothing$'):
        Sweep(error).record(CLEAN)
    outcome, record, _ = Sweep(error).record(FOG)
    assert outcome == (False, 'Own returned nothing', False) and record.error == outcome.text
