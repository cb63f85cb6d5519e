"""What fails in a cell is tried again, skipped, or ends the sweep in one line."""

import shutil

import cv2
import pytest
import torch
from mmengine.structures import PixelData
from stripe_model import StripeModel
from stripe_sweeps import CELLS, Failing, status, table

from fan_mm.errors import InputError


def test_a_failed_cell_is_tried_again(sweep):
    assert table(sweep(Failing(at=4, times=1)).run()) == table(sweep().run())


@pytest.mark.parametrize(('on_error', 'times'), [('retry', 2), ('skip', 1)])
def test_a_cell_that_goes_on_failing_is_skipped(sweep, tmp_path, on_error, times):
    # image 4 is the second of gaussian_noise/1; seen again at every try
    class Once(Failing):
        def forward(self, *args, **kwargs):
            try:
                return super().forward(*args, **kwargs)
            except RuntimeError:
                self.seen = self.seen[: -1 if self.times else None]
                raise

    results = sweep(Once(at=4, times=times), work_dir=tmp_path, on_error=on_error).run()
    expected = dict.fromkeys(CELLS, 'done') | {'gaussian_noise/1': 'failed'}
    assert status(results) == expected
    (failed,) = [c for c in results['cells'] if c['status'] == 'failed']
    assert failed['error'] == 'RuntimeError: out of memory'
    assert results['summary']['mean'] == {
        'value': None,
        'interval': None,
        'complete': False,
        'missing': ['gaussian_noise/1'],
    }
    assert results['summary']['corruptions']['fog']['complete']
    # The next run evaluates what is missing, and nothing else.
    model = StripeModel()
    assert table(sweep(model, work_dir=tmp_path).run()) == table(sweep().run())
    assert len(model.seen) == 3


class OfOneSize(StripeModel):
    """Takes no batch of images of several sizes."""

    def test_step(self, data):
        self.shapes = {image.shape for image in data['inputs']}
        assert len(self.shapes) == 1, 'The image size in a batch should be the same.'
        return super().test_step(data)


def with_narrow_pictures(cfg, root, narrow):
    """A loader of batches of two, whose pictures of some places are half as wide."""
    for folder in ('leftImg8bit', 'gtFine'):
        for place, path in enumerate(sorted((root / folder / 'val').rglob('*.png'))):
            picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if place in narrow:
                cv2.imwrite(str(path), picture[:, :64])
    return dict(cfg.test_dataloader, batch_size=2)


@pytest.mark.parametrize('on_error', ['retry', 'skip'])
@pytest.mark.parametrize('narrow', [(3,), (2, 3), ()])
def test_a_batch_of_several_sizes_is_tried_before_the_clean_cell(
    cfg, sweep, tiny_cityscapes, tmp_path, narrow, on_error
):
    for folder, kind in (('leftImg8bit', 'leftImg8bit'), ('gtFine', 'gtFine_labelTrainIds')):
        town = tiny_cityscapes / folder / 'val/town'
        shutil.copy(
            town / f'town_000000_000019_{kind}.png', town / f'town_000003_000019_{kind}.png'
        )
    loader, model = with_narrow_pictures(cfg, tiny_cityscapes, narrow), OfOneSize()
    if narrow == (3,):
        words = (
            '^the model fails on a batch of images of several sizes: AssertionError: The image size'
        )
        with pytest.raises(InputError, match=words):
            sweep(model, loader, work_dir=tmp_path / 'out', on_error=on_error).run()
        assert model.seen == [] and model.training
        # what is done already has shown that the model takes them
        sweep(loader=loader, work_dir=tmp_path / 'out', corruptions=['fog'], severities=[1]).run()
    else:
        results = sweep(model, loader, on_error=on_error).run()
        assert set(status(results).values()) == {'done'}
        assert len(model.seen) == 4 * len(CELLS)


def test_a_picture_of_another_size_that_cannot_be_read_fails_its_cell(
    cfg, sweep, tiny_cityscapes, monkeypatch
):
    loader = with_narrow_pictures(cfg, tiny_cityscapes, [1])
    ids = sorted((tiny_cityscapes / 'gtFine/val').rglob('*.png'))
    ids[1].write_bytes(b'')
    results = sweep(loader=dict(loader, batch_size=3), on_error='skip')
    monkeypatch.setattr('fan_mm.evaluation.every_cell.mixed_batch', lambda *args: [1, 0])
    with pytest.raises(InputError, match=r'^the first batch fails: '):
        results.run()


def test_stop_on_error(sweep):
    results = sweep(Failing(at=4, times=1), on_error='stop').run()
    found = list(status(results).values())
    assert found == ['done', 'failed', 'missing', 'missing', 'missing']


def test_a_metric_of_mmseg_that_fails_on_the_first_batch_ends_the_sweep(sweep, monkeypatch):
    from mmseg.evaluation import IoUMetric

    model = StripeModel()
    monkeypatch.setattr(IoUMetric, 'compute_metrics', lambda self, results: 1 / 0)
    with pytest.raises(InputError, match='first batch fails: ZeroDivisionError: division by zero'):
        sweep(model, on_error='skip').run()
    assert len(model.seen) == 1


def test_a_metric_that_fails_in_one_cell_fails_the_cell(sweep, monkeypatch):
    from mmseg.evaluation import IoUMetric

    compute, calls = IoUMetric.compute_metrics, []

    def failing(self, results):
        calls.append(len(results))
        if calls == [1, 3, 3]:  # the first batch, clean, gaussian_noise/1
            raise ZeroDivisionError
        return compute(self, results)

    monkeypatch.setattr(IoUMetric, 'compute_metrics', failing)
    results = sweep(on_error='skip').run()
    assert status(results) == dict.fromkeys(CELLS, 'done') | {'gaussian_noise/1': 'failed'}


@pytest.mark.parametrize('on_error', ['retry', 'skip'])
def test_cells_that_fail_alike_end_the_sweep(sweep, on_error):
    class Failing(StripeModel):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            if '000001' in data_samples[0].img_path:
                raise RuntimeError('no memory for this one')
            return super().forward(inputs, data_samples, mode)

    model = Failing()
    with pytest.raises(InputError, match='gaussian_noise/1 fails like clean') as error:
        sweep(model, on_error=on_error).run()
    assert 'no memory for this one' in str(error.value)
    assert '\n' not in str(error.value)
    assert len(model.seen) == (3 if on_error == 'retry' else 2)


class NaN(StripeModel):
    """Gives values that are not finite from the n-th image on."""

    def __init__(self, at, value=float('nan')):
        super().__init__()
        self.at, self.value = at, value

    def forward(self, inputs, data_samples=None, mode='tensor'):
        samples = super().forward(inputs, data_samples, mode)
        for sample in samples:
            logits = torch.zeros(19, 64, 128)
            logits[0] = -torch.inf  # a class that is masked out
            if len(self.seen) > self.at:
                logits[3, 5, 7] = self.value
            sample.seg_logits = PixelData(data=logits)
        return samples


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_model_that_gives_nothing_finite_is_a_finding(sweep, value):
    with pytest.raises(
        InputError, match=r'first batch fails: the model outputs data .* not finite for'
    ):
        sweep(NaN(0, value)).run()
    results = sweep(NaN(4, value), on_error='skip').run()
    assert list(status(results).values()) == ['done', *['failed'] * 4]
    assert 'not finite' in results['cells'][1]['error']
    assert results['summary']['retention']['value'] is None
    assert status(sweep(NaN(99)).run()) == dict.fromkeys(CELLS, 'done')


def test_a_metric_without_the_score_ends_the_sweep(sweep, monkeypatch):
    from mmseg.evaluation import IoUMetric

    model = StripeModel()
    monkeypatch.setattr(IoUMetric, 'compute_metrics', lambda self, results: {'aAcc': 1.0})
    with pytest.raises(InputError, match='IoUMetric returned aAcc: configure it to compute mIoU'):
        sweep(model).run()
    assert len(model.seen) == 1


def test_a_full_disk_is_one_line(sweep, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, 'No space left on device', str(tmp_path / 'cells'))

    started = sweep(work_dir=tmp_path)
    monkeypatch.setattr('fan_mm.evaluation.cells.write_whole', full)
    with pytest.raises(InputError, match='cells: No space left on device'):
        started.run()
