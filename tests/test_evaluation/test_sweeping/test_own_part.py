"""A process's part of a cell: what it is fed to, and what becomes of errors wherever they are raised."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from fan_mm.errors import InputError
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.every_cell import EveryCellFails
from fan_mm.evaluation.sweeping import own_part

FOG = Cell('fog', 3)
BATCHES = [[0, 2], [4]]  # of five samples, two processes


class Samples:
    """Five samples in two cells; the bad ones are at these places."""

    cells, samples = [CLEAN, FOG], range(5)

    def __init__(self, bad=()):
        self.bad, self.read = bad, []

    def __getitem__(self, index):
        self.read.append(index)
        if index in self.bad:
            raise OSError(f'sample at {index}')
        return index

    def get_data_info(self, index):
        return {}


def loader(cell, bad=None):
    for batch in BATCHES:
        if batch == bad:
            raise OSError('the loader')
        yield [(cell, position) for position in batch]


class Process:
    """One process of a sweep; each thing around it keeps what it was told."""

    def __init__(self, monkeypatch, outputs=None, mistake=None, batches=BATCHES, **options):
        self.calls, self.logged = [], []
        monkeypatch.setattr(own_part, 'get_dist_info', lambda: (0, 2))
        monkeypatch.setattr(own_part, 'print_log', lambda text, *_: self.logged.append(text))
        monkeypatch.setattr(
            own_part, 'predict', lambda model, batch: self.note('predict', model, batch)
        )
        monkeypatch.setattr(
            own_part, 'check_labels', lambda outputs, labels, evaluator: self.note('labels', labels)
        )
        self.outputs, self.mistake = outputs or [], mistake
        watch = SimpleNamespace(
            waiting=nullcontext,
            take=lambda *given: self.note('watch', *given),
            end=lambda: self.note('watched') or 'seen',
        )
        self.metrics = SimpleNamespace(
            evaluator=SimpleNamespace(metrics=[]),
            calibration=None,
            begin=lambda: self.note('begin'),
            process=lambda batch, outputs: self.note('process', outputs),
            collected=lambda: ['collected'],
            put_back=lambda: self.note('put back'),
            empty=lambda: self.note('empty'),
        )
        every_cell = SimpleNamespace(
            try_metrics=lambda positions: self.note('try', positions) or mistake,
            agree=self.agree,
        )
        self.part = own_part.OwnPart(
            SimpleNamespace(test_step=self.test_step),
            options.pop('dataset', Samples()),
            batches,
            self.metrics,
            infos=[{'img_path': f'{position}.png'} for position in range(5)],
            labels='labels',
            fp16=False,
            copies=options.pop('copies', False),
            goes_on=options.pop('goes_on', False),
            every_cell=every_cell,
            auditor=SimpleNamespace(watch=lambda cell: watch),
            gallery=options.pop('gallery', None),
        )

    def note(self, *call):
        self.calls.append(call)

    def agree(self, mistake, cause=None):
        self.note('agree', mistake, cause)
        if mistake:
            raise EveryCellFails(mistake)

    def test_step(self, batch):
        self.note('test_step', len(batch))
        output = self.outputs.pop(0) if self.outputs else None
        if isinstance(output, Exception):
            raise output
        return [output] * len(batch)

    def evaluate(self, cell=CLEAN, bad=None):
        progress = SimpleNamespace(add=lambda cell, images: self.note('progress', cell, images))
        return self.part.evaluate(cell, loader(cell, bad), progress)

    def named(self, *names):
        return [call for call in self.calls if call[0] in names]


@pytest.mark.parametrize('cell', [CLEAN, FOG])
def test_all_batches_are_fed(cell, monkeypatch):
    process = Process(monkeypatch)
    part = process.evaluate(cell)
    assert (part.error, part.lasting, part.seen) == (None, False, 'seen')
    assert part.positions == [0, 2, 4] and part.results == ['collected'] and part.pictures == {}
    first = [('labels', 'labels'), ('try', [0, 2]), ('agree', None, None)]
    assert process.named('labels', 'try', 'agree') == (first if cell == CLEAN else [])
    assert process.named('watch') == [
        ('watch', [0, 2], [(cell, 0), (cell, 2)], [None, None]),
        ('watch', [4], [(cell, 4)], [None]),
    ]
    assert process.named('process') == [('process', [None, None]), ('process', [None])]
    assert process.named('progress') == [('progress', cell, 4), ('progress', cell, 2)]
    assert process.named('watched', 'empty', 'put back') == [('watched',), ('empty',)]
    assert process.named('predict') == [] and process.logged == []


def test_seconds(monkeypatch):
    times = iter((2.0, 5.0))
    monkeypatch.setattr(own_part.time, 'monotonic', lambda: next(times))
    assert Process(monkeypatch).evaluate().seconds == 3.0


def test_probabilities_are_asked_for_where_they_are_measured(monkeypatch):
    process = Process(monkeypatch)
    process.metrics.calibration = 'calibration'
    process.evaluate()
    given = [('predict', process.part.model, [(CLEAN, p) for p in batch]) for batch in BATCHES]
    assert process.named('predict', 'test_step') == given


def test_pictures_are_taken(monkeypatch):
    def take(cell, positions, batch, outputs):
        assert batch == [(cell, p) for p in positions] and outputs == [None] * len(batch)
        return {position: str(cell) for position in positions if position}

    gallery = SimpleNamespace(take=take)
    part = Process(monkeypatch, gallery=gallery).evaluate(FOG)
    assert part.pictures == {2: 'fog/3', 4: 'fog/3'}


@pytest.mark.parametrize(('cell', 'agreed'), [(CLEAN, [('agree', None, None)]), (FOG, [])])
@pytest.mark.parametrize('fails', [False, True])
def test_a_process_without_a_batch_agrees(cell, agreed, fails, monkeypatch):
    process = Process(monkeypatch, batches=[])
    if fails:
        process.metrics.collected = lambda: 1 / 0
    part = process.evaluate(cell)
    assert part.results == ([] if fails else ['collected'])
    assert part.error == ('ZeroDivisionError: division by zero' if fails else None)
    assert process.named('agree') == agreed  # once, or the others would wait


@pytest.mark.parametrize('fp16', [False, True])
def test_half_precision(fp16, monkeypatch):
    process = Process(monkeypatch)
    process.part.fp16 = fp16
    monkeypatch.setattr(
        own_part, 'autocast', lambda enabled: process.note('autocast', enabled) or nullcontext()
    )
    process.evaluate()
    assert process.named('autocast') == [('autocast', fp16)] * 2


FAILS = RuntimeError('shapes\nand more')


@pytest.mark.parametrize(
    ('cell', 'outputs', 'line', 'logged'),
    [
        (FOG, [FAILS], 'RuntimeError: shapes', True),
        (CLEAN, [None, FAILS], 'RuntimeError: shapes', True),
        (CLEAN, [None, InputError('as it is')], 'as it is', False),
        (FOG, [{'pred_score': torch.tensor([torch.nan])}], 'the model outputs pred_score', False),
    ],
)
def test_a_batch_that_fails(cell, outputs, line, logged, monkeypatch):
    batch = BATCHES[len(outputs) - 1]
    process = Process(monkeypatch, outputs)
    part = process.evaluate(cell)
    assert process.part.dataset.read == []  # nothing is loaded again
    assert part.error.startswith(line) and not part.lasting and part.results == []
    assert part.seen == 'seen'
    assert process.named('put back', 'watched', 'empty') == [
        ('put back',),
        ('watched',),
        ('empty',),
    ]
    assert process.named('agree') == [('agree', None, None)] * (cell == CLEAN)
    start = f'{cell}, at {", ".join(f"{position}.png" for position in batch)}:\nTraceback'
    assert [text.startswith(start) for text in process.logged] == [True] * logged


def test_an_error_does_not_keep_what_filled_the_memory(monkeypatch):
    error = RuntimeError('out of memory')
    Process(monkeypatch, [error]).evaluate(FOG)
    assert not error.__traceback__.tb_next.tb_frame.f_locals


def test_the_first_clean_batch_that_fails_ends_the_sweep(monkeypatch):
    process = Process(monkeypatch, [FAILS])
    with pytest.raises(EveryCellFails, match='shapes'):
        process.evaluate()
    assert process.named('agree') == [('agree', 'RuntimeError: shapes', FAILS)]
    assert process.logged == [] and process.named('watched', 'empty') == [('watched',), ('empty',)]


def test_metrics_that_fail_on_the_first_clean_batch_end_the_sweep(monkeypatch):
    process = Process(monkeypatch, mistake='only one class')
    with pytest.raises(EveryCellFails, match='only one class'):
        process.evaluate()
    assert process.named('agree', 'put back') == [('agree', 'only one class', None)]
    assert process.named('watched', 'empty') == [('watched',), ('empty',)]


@pytest.mark.parametrize(
    ('bad', 'copies', 'line', 'lasting'),
    [
        ([9], False, 'the loader cannot load sample 4: OSError: sample at 9', True),
        ([9], True, 'OSError: the loader', True),  # which copy it is, only the error says
        ([4], False, 'OSError: the loader', False),  # this time it can be read
    ],
)
def test_a_sample_that_cannot_be_loaded(bad, copies, line, lasting, monkeypatch):
    dataset = Samples(bad)
    process = Process(monkeypatch, dataset=dataset, copies=copies)
    part = process.evaluate(FOG, bad=[4])
    assert part.error.startswith(line) and part.lasting == lasting and dataset.read == [9]
    assert part.positions == [0, 2] and process.named('put back') == [('put back',)]


@pytest.mark.parametrize(
    ('bad', 'goes_on', 'agreed'),
    [
        ([2], False, ('the loader cannot load sample 2: OSError: sample at 2', None)),
        ([2], True, (None, None)),  # the copies may be whole
        ([], False, ('OSError: the loader', OSError)),
        ([], True, ('OSError: the loader', OSError)),
    ],
)
def test_a_clean_sample_that_cannot_be_loaded(bad, goes_on, agreed, monkeypatch):
    process = Process(monkeypatch, dataset=Samples(bad), copies=True, goes_on=goes_on)
    line, cause = agreed
    with pytest.raises(EveryCellFails) if line else nullcontext():
        part = process.evaluate(CLEAN, bad=[0, 2])
        assert (
            part.lasting and part.error == 'the loader cannot load sample 2: OSError: sample at 2'
        )
    ((_, said, raised),) = process.named('agree')
    assert said == line and (type(raised) is OSError if cause else raised is None)
