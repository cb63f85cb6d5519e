"""RobustnessSweep in one process, on the stripes of `tiny_cityscapes`."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmseg')

import mmseg.datasets
import mmseg.evaluation  # noqa: F401  (registers CityscapesDataset, IoUMetric and their transforms)
from mmengine.evaluator import Evaluator
from mmengine.registry import TRANSFORMS
from mmengine.runner import Runner
from mmengine.structures import PixelData
from PIL import ImageFile
from stripe_model import StripeModel

from fan_mm.corruptions import BENCHMARKS, corrupt, image_key, seed_for
from fan_mm.datasets.corrupted.generate import generate
from fan_mm.errors import InputError
from fan_mm.evaluation import RobustnessSweep, read_per_image, read_results
from fan_mm.evaluation.cells import CLEAN
from fan_mm.evaluation.gallery import one_of_each
from fan_mm.jobs.robustness import summary_text
from fan_mm.report.comparison_files import write_comparison
from fan_mm.report.report import write_report

SMALL = dict(corruptions=['gaussian_noise', 'fog'], severities=[1, 3])
CELLS = ['clean', *(f'{name}/{s}' for name in ('gaussian_noise', 'fog') for s in (1, 3))]


@pytest.fixture
def sweep(cfg):
    def make(model=None, loader=None, evaluator=None, **options):
        return RobustnessSweep(
            model or StripeModel(),
            loader or cfg.test_dataloader,
            evaluator or cfg.test_evaluator,
            **{**SMALL, **options},
        )

    return make


def table(results):
    """What two runs of the same sweep have in common: all but times."""
    cells = [{k: v for k, v in cell.items() if k != 'seconds'} for cell in results['cells']]
    return cells, results['summary']


def status(results):
    return {
        f'{c["corruption"]}/{c["severity"]}' if c['severity'] else 'clean': c['status']
        for c in results['cells']
    }


def test_cells_and_summary(sweep, tmp_path):
    results = sweep(work_dir=tmp_path / 'out').run()
    assert status(results) == dict.fromkeys(CELLS, 'done')
    scores = [cell['metrics']['mIoU'] for cell in results['cells']]
    assert scores[0] > 90  # the nearest colour is right but for the noise of the pictures
    assert scores[0] > scores[1] > scores[2]
    assert all(cell['samples'] == 3 for cell in results['cells'])
    mean = np.mean([np.mean(scores[1:3]), np.mean(scores[3:])])
    assert results['summary']['mean']['value'] == pytest.approx(mean)
    assert results['summary']['retention']['value'] == pytest.approx(100 * mean / scores[0])
    assert results['benchmark']['name'] == 'cityscapes-c-subset'
    assert results['dataset']['type'] == 'CityscapesDataset'
    assert results['dataset']['palette'][0] == [128, 64, 128]
    assert read_results(tmp_path / 'out') == json.loads(json.dumps(results))
    statistics = read_per_image(tmp_path / 'out')
    assert list(statistics.keys) == [f'town/town_{i:06d}_000019_leftImg8bit' for i in range(3)]
    for cell, score in zip(statistics.cells, scores, strict=True):
        assert statistics.score(cell) == pytest.approx(score, abs=0.006)


def test_clean_cell_is_what_mmengine_measures(cfg, sweep):
    model, loader = StripeModel().eval(), Runner.build_dataloader(cfg.test_dataloader)
    evaluator = Evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    for batch in loader:
        evaluator.process(model.test_step(batch), batch)
    metrics = evaluator.evaluate(len(loader.dataset))
    assert sweep().run()['cells'][0]['metrics'] == {
        name: pytest.approx(float(value), abs=1e-4) for name, value in metrics.items()
    }


@pytest.mark.parametrize('channel_order', ['rgb', 'bgr-as-rgb'])
def test_on_the_fly_equals_generated_png(sweep, tiny_cityscapes, tmp_path, channel_order):
    cells = dict.fromkeys(SMALL['corruptions'], SMALL['severities'])
    root = tmp_path / 'c'
    options = dict(seed=5, channel_order=channel_order)
    generate(tiny_cityscapes, root, 'cityscapes', cells, jobs=1, **options)
    read = sweep(corrupted_root=root).run()
    made = sweep(**options).run()
    assert table(read) == table(made)
    assert read['corrupted_root'] == str(root)
    for name in ('seed', 'channel_order', 'corruption_version'):
        assert read[name] == made[name]
    assert table(sweep(seed=6).run())[0][1] != table(made)[0][1]  # the seed matters
    sweep(corrupted_root=root, **options)  # as they were made
    with pytest.raises(InputError, match=r'--seed 6: the files of .* were made with 5'):
        sweep(corrupted_root=root, seed=6)
    other = 'rgb' if channel_order == 'bgr-as-rgb' else 'bgr-as-rgb'
    with pytest.raises(InputError, match=rf'--channel-order {other}: .* made with {channel_order}'):
        sweep(corrupted_root=root, channel_order=other)


def test_pictures_whose_names_are_no_utf8(sweep, tiny_cityscapes, tmp_path):
    """From the generator to the comparison they are pictures as others."""
    for file in [*tiny_cityscapes.rglob('val/town/town_000002*')]:
        file.rename(file.with_name(file.name.replace('town_000002', os.fsdecode(b'\xe9\n'))))
    root, options = tmp_path / 'c', dict(corruptions=['fog'], severities=[3])
    generate(tiny_cityscapes, root, 'cityscapes', {'fog': (3,)}, jobs=1)
    paint = dict(paint=lambda image, _: dict(image=image, prediction=image), save_images=3)
    read = sweep(corrupted_root=root, work_dir=tmp_path / 'read', **options).run()
    made = sweep(work_dir=tmp_path / 'made', **options, **paint).run()
    assert table(read) == table(made)
    assert len(made['gallery']) == 3
    keys = {
        f'town/{stem}_000019_leftImg8bit' for stem in ('\udce9\n', 'town_000000', 'town_000001')
    }
    for name in ('read', 'made'):
        assert {*read_per_image(tmp_path / name).keys} == keys
        write_report(tmp_path / name, tmp_path / name)
    assert keys == {picture['key'] for picture in read_results(tmp_path / 'made')['gallery']}
    page = (tmp_path / 'made' / 'report.html').read_text()
    assert r'\udce9' in page
    assert write_comparison([tmp_path / 'read', tmp_path / 'made'], tmp_path / 'both').read_text()
    assert sweep(work_dir=tmp_path / 'made', **options).run()['cells'] == made['cells']


class Seen:
    """Keeps the pictures as they are packed."""

    def __init__(self):
        self.pictures = []

    def __call__(self, results):
        self.pictures.append((results['img_path'], results['img'].copy()))
        return results


def test_semsegbench_corrupts_the_resized_picture_as_bgr(cfg, sweep):
    """Its pixels are those of `corrupt` on the resized array, red and blue taken for each other."""
    pipeline = cfg.test_dataloader.dataset.pipeline
    pipeline.insert(1, dict(type='Resize', scale=(64, 32)))
    pipeline.insert(len(pipeline) - 1, dict(type='Seen'))
    with TRANSFORMS.switch_scope_and_registry('mmseg') as registry:
        registry.register_module(module=Seen, force=True)
    made = sweep(benchmark='semsegbench', corruptions=['snow', 'fog'], severities=None, seed=3)
    assert made.cells == [CLEAN, ('snow', 3), ('fog', 3)]
    dataset = made.dataset
    for index in (0, 2):
        clean = cv2.resize(cv2.imread(made.infos[index]['img_path']), (64, 32))
        for number, cell in enumerate(made.cells):
            packed = dataset[number * len(made.samples) + index]['inputs'].numpy()
            wanted = clean
            if cell.severity:
                seed = seed_for(3, image_key(made.infos[index]['img_path']), *cell)
                # without an order an array is RGB: here its BGR is taken for that
                wanted = corrupt(np.ascontiguousarray(clean), *cell, seed=seed)
            np.testing.assert_array_equal(packed.transpose(1, 2, 0), wanted)
    assert made.protocol['channel_order'] == 'bgr-as-rgb'
    assert made.scope.benchmark.name == 'semsegbench-subset'


def test_semsegbench_is_one_protocol(sweep, tmp_path):
    with pytest.raises(
        InputError, match='defines the channel order bgr-as-rgb: leave the option out'
    ):
        sweep(benchmark='semsegbench', severities=None, channel_order='rgb')
    with pytest.raises(InputError, match='after the resize'):
        sweep(benchmark='semsegbench', severities=None, corrupted_root=tmp_path)


def test_cells_of_another_place_of_the_corruption_do_not_count(sweep, tmp_path):
    options = dict(work_dir=tmp_path / 'out', corruptions=['fog'], severities=[3])
    sweep(channel_order='bgr-as-rgb', **options).run()
    with pytest.raises(InputError, match='place of the corruptions was None, is after the resize'):
        sweep(benchmark='semsegbench', **options)


def test_the_worst_corruption_is_named(sweep):
    results = sweep().run()
    means = {name: c['mean'] for name, c in results['summary']['corruptions'].items()}
    worst = min(means, key=means.get)
    assert results['summary']['worst']['corruption'] == worst
    assert results['summary']['worst']['value'] == pytest.approx(means[worst])
    low, high = results['summary']['worst']['interval']
    assert low <= means[worst] <= high
    assert f'({worst})' in summary_text(results)


def test_missing_generated_files_are_said_before_the_sweep(sweep, tiny_cityscapes, tmp_path):
    generate(tiny_cityscapes, tmp_path / 'c', 'cityscapes', {'fog': [1]}, jobs=1)
    with pytest.raises(InputError, match='gaussian_noise/1'):
        sweep(corrupted_root=tmp_path / 'c')


@pytest.mark.parametrize('loading', [dict(num_workers=2), dict(batch_size=2)])
def test_workers_and_batches_change_nothing(cfg, sweep, loading):
    expected = table(sweep().run())
    cfg.test_dataloader.update(loading)
    assert table(sweep().run()) == expected


def test_workers_live_through_the_sweep(cfg, sweep, tmp_path):
    cfg.test_dataloader.num_workers = 2
    log = tmp_path / 'pids'

    class Spy:
        def __call__(self, results):
            import os

            with log.open('a') as file:
                file.write(f'{os.getpid()}\n')
            return results

    loader = Runner.build_dataloader(cfg.test_dataloader)
    loader.dataset.pipeline.transforms.insert(0, Spy())
    sweep(loader=loader).run()
    pids = log.read_text().split()
    assert len(pids) == 3 * len(CELLS)
    assert len(set(pids)) == 2


def test_a_sweep_goes_on_where_it_stopped(sweep, tmp_path):
    expected = table(sweep().run())
    model = StripeModel()
    stopping = sweep(model, work_dir=tmp_path)
    put = stopping.store.put

    def killed(record, **arrays):
        if str(record.cell) == 'fog/1':
            raise KeyboardInterrupt
        put(record, **arrays)

    stopping.store.put = killed
    with pytest.raises(KeyboardInterrupt):
        stopping.run()
    assert not (tmp_path / 'results.json').exists()
    again = StripeModel()
    assert table(sweep(again, work_dir=tmp_path).run()) == expected
    assert len(again.seen) == 2 * 3  # fog/1 and fog/3
    idle = StripeModel()
    assert table(sweep(idle, work_dir=tmp_path).run()) == expected
    assert not idle.seen


def test_more_cells_can_be_added(sweep, tmp_path):
    sweep(work_dir=tmp_path, severities=[1]).run()
    model = StripeModel()
    results = sweep(model, work_dir=tmp_path).run()
    assert len(model.seen) == 2 * 3
    assert table(results) == table(sweep().run())


def changed_weights():
    model = StripeModel()
    model.colours[0, 0] += 1
    return {'model': model}


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        (changed_weights, 'checkpoint'),
        (lambda: {'seed': 1}, 'seed'),
        (lambda: {'max_samples': 2}, 'dataset'),
        (lambda: {'channel_order': 'bgr-as-rgb'}, 'channel order'),
        (lambda: {'fp16': True}, 'precision'),
    ],
)
def test_another_sweep_in_the_same_folder_is_refused(sweep, tmp_path, change, named):
    sweep(work_dir=tmp_path).run()
    with pytest.raises(InputError, match=f'holds a sweep with another {named} .*--overwrite'):
        sweep(work_dir=tmp_path, **change())


def test_changed_data_and_changed_corruptions_are_refused(
    sweep, tiny_cityscapes, tmp_path, monkeypatch
):
    sweep(work_dir=tmp_path / 'out').run()
    with monkeypatch.context() as patch:
        patch.setattr('fan_mm.evaluation.sweep.ALGORITHM_VERSION', 'next')
        with pytest.raises(InputError, match='another version of the corruptions'):
            sweep(work_dir=tmp_path / 'out')
    label = next(tiny_cityscapes.glob('gtFine/val/town/*.png'))
    cv2.imwrite(str(label), np.random.default_rng(0).integers(0, 19, (64, 128), np.uint8))
    with pytest.raises(InputError, match='another dataset'):
        sweep(work_dir=tmp_path / 'out')
    assert sweep(work_dir=tmp_path / 'out', overwrite=True).run()['summary']['mean']['complete']


class Failing(StripeModel):
    """Fails on the n-th image it sees, ``times`` times."""

    def __init__(self, at, times):
        super().__init__()
        self.at, self.times = at, times

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if len(self.seen) == self.at and self.times:
            self.times -= 1
            raise RuntimeError('out of memory\nwith more lines')
        return super().forward(inputs, data_samples, mode)


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


def test_stop_on_error(sweep):
    results = sweep(Failing(at=4, times=1), on_error='stop').run()
    found = list(status(results).values())
    assert found == ['done', 'failed', 'missing', 'missing', 'missing']


@pytest.fixture
def jpegs(cfg, tiny_cityscapes):
    """The validation pictures as JPEG files."""
    for file in sorted(tiny_cityscapes.glob('leftImg8bit/val/town/*.png')):
        cv2.imwrite(str(file.with_suffix('.jpg')), cv2.imread(str(file)))
    cfg.test_dataloader.dataset.img_suffix = '_leftImg8bit.jpg'
    return sorted(tiny_cityscapes.glob('leftImg8bit/val/town/*.jpg'))


def half(data):
    return data[: len(data) // 2]


def filled_with_zeros(data):
    return half(data) + bytes(len(data) - len(data) // 2)


@pytest.mark.parametrize(
    ('on_error', 'workers', 'damage', 'line'),
    [
        ('retry', 0, half, 'is truncated: get it again'),
        ('skip', 2, half, 'is truncated: get it again'),
        ('stop', 0, filled_with_zeros, 'is truncated: get it again'),
        ('retry', 0, lambda data: b'<!DOCTYPE html><html>gone', 'is a web page, not an image'),
    ],
)
def test_a_picture_that_cannot_be_read_ends_the_sweep_before_the_clean_score(
    sweep, jpegs, tmp_path, monkeypatch, cfg, on_error, workers, damage, line
):
    """In one line; once it is replaced, the same command goes on in the same folder."""
    decode = cv2.imdecode  # older ones fill what is missing, as all do that read from files
    cfg.test_dataloader.num_workers = workers
    whole = jpegs[1].read_bytes()
    jpegs[1].write_bytes(damage(whole))
    model = StripeModel()
    with monkeypatch.context() as patch:
        if damage in (half, filled_with_zeros):
            grey = np.full((64, 128, 3), 128, np.uint8)
            patch.setattr(cv2, 'imdecode', lambda *a: grey if decode(*a) is None else decode(*a))
        with pytest.raises(InputError) as error:
            sweep(model, work_dir=tmp_path / 'out', on_error=on_error).run()
    assert str(error.value).startswith('the clean images cannot all be read: ')
    assert f'{jpegs[1]}' in str(error.value) and line in str(error.value)
    assert '\n' not in str(error.value)
    assert len(model.seen) == 1  # not tried again
    assert not list(tmp_path.glob('out/cells/*'))
    jpegs[1].write_bytes(whole)
    results = sweep(work_dir=tmp_path / 'out', on_error=on_error).run()
    assert status(results) == dict.fromkeys(CELLS, 'done')


def test_a_lone_cell_fails_once_and_others_elsewhere_go_on(sweep, jpegs, tmp_path):
    """As a real condition, which is the clean cell of a sweep of its own."""
    whole = jpegs[1].read_bytes()
    jpegs[1].write_bytes(half(whole))
    model, options = StripeModel(), dict(corruptions=(), severities=None, work_dir=tmp_path / 'out')
    results = sweep(model, **options).run()
    assert status(results) == {'clean': 'failed'} and len(model.seen) == 1
    assert results['cells'][0]['error'] == f'{jpegs[1]} is truncated: get it again'
    jpegs[1].write_bytes(whole)
    assert status(sweep(**options).run()) == {'clean': 'done'}


def test_a_copy_that_is_cut_short_fails_its_cell_alone(sweep, tiny_cityscapes, tmp_path):
    cells = {'fog': (1, 3)}
    source, copies = tiny_cityscapes / 'leftImg8bit', tmp_path / 'copies'
    generate(tiny_cityscapes, copies, 'cityscapes', cells, jobs=1)
    options = dict(corruptions=['fog'], corrupted_root=str(copies), work_dir=tmp_path / 'out')
    copy = sorted((copies / 'fog/3').rglob('*.png'))[1]
    assert source.is_dir() and copy.is_file()
    whole = copy.read_bytes()
    copy.write_bytes(half(whole))
    results = sweep(**options).run()
    assert status(results) == {'clean': 'done', 'fog/1': 'done', 'fog/3': 'failed'}
    assert results['cells'][2]['error'] == f'{copy} is truncated: get it again'
    copy.write_bytes(whole)
    model = StripeModel()
    assert set(status(sweep(model, **options).run()).values()) == {'done'} and len(model.seen) == 3


@pytest.mark.parametrize(
    ('on_error', 'damage', 'number'),
    [('retry', half, 1), ('skip', half, 0), ('skip', lambda data: b'', 1)],
)
def test_a_clean_picture_that_copies_do_without(
    sweep, tiny_cityscapes, tmp_path, on_error, damage, number
):
    """It ends the sweep, as it does without copies; if failed cells are skipped, the clean one is."""
    copies = tmp_path / 'copies'
    generate(tiny_cityscapes, copies, 'cityscapes', {'fog': (1,)}, jobs=1)
    clean = sorted(tiny_cityscapes.glob('leftImg8bit/val/town/*.png'))[number]
    clean.write_bytes(damage(clean.read_bytes()))
    options = dict(corruptions=['fog'], severities=[1], corrupted_root=str(copies))
    made = sweep(on_error=on_error, work_dir=tmp_path / 'out', **options)
    if on_error == 'retry':
        with pytest.raises(InputError, match=f'{clean.name} is '):
            made.run()
        return
    results = made.run()
    assert status(results) == {'clean': 'failed', 'fog/1': 'done'}
    assert str(clean) in results['cells'][0]['error']
    assert results['summary']['retention']['missing'] == ['clean']
    rows = {line.split()[0]: line for line in summary_text(results).splitlines()[1:]}
    assert all('incomplete (1 cells missing)' in rows[name] for name in ('clean', 'retention'))
    assert 'incomplete' not in rows['mean']
    if number:
        return
    write_report(tmp_path / 'out' / 'results.json', tmp_path / 'out')
    assert 'incomplete' in (tmp_path / 'out' / 'report.html').read_text()
    assert write_comparison([tmp_path / 'out'], tmp_path / 'both').is_file()


def test_a_label_map_that_is_cut_short_ends_the_sweep(sweep, tiny_cityscapes, monkeypatch):
    """Pillow, which mmseg reads labels with, may be told to fill it with zeros: road."""
    label = sorted(tiny_cityscapes.glob('gtFine/val/town/*.png'))[2]
    noise = np.random.default_rng(0).integers(0, 19, (64, 128), np.uint8)
    cv2.imwrite(str(label), noise)
    label.write_bytes(half(label.read_bytes()))
    monkeypatch.setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', True)
    with pytest.raises(InputError, match=f'{label.name} is truncated'):
        sweep().run()
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_picture_that_hesitates_is_read_again(sweep, tiny_cityscapes, monkeypatch):
    """What another try reads is no fault of the data: the cell is evaluated again."""
    decode, calls = cv2.imdecode, []

    def hesitating(*args):
        calls.append(args)
        if len(calls) == 7:
            raise OSError('stale file handle')
        return decode(*args)

    monkeypatch.setattr(cv2, 'imdecode', hesitating)
    assert status(sweep().run()) == dict.fromkeys(CELLS, 'done')
    assert len(calls) > 7


@pytest.mark.parametrize('workers', [0, 2])
def test_one_picture_that_is_too_small_ends_the_sweep(cfg, sweep, tiny_cityscapes, workers):
    """The clean cell takes it, and each of the others would fail."""
    cfg.test_dataloader.num_workers = workers
    for file in sorted(tiny_cityscapes.rglob('val/town/*000001*.png')):
        cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_UNCHANGED)[:20])
    line = r'^\w+/1 fails, and so would every cell but clean: .*000001\S*png: .* got 20 x 128$'
    with pytest.raises(InputError, match=line):
        sweep().run()


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


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize('folder', ['leftImg8bit', 'gtFine'])
def test_what_is_wrong_with_the_first_sample_ends_the_sweep(
    cfg, sweep, tiny_cityscapes, folder, workers
):
    cfg.test_dataloader.num_workers = workers
    file = sorted(tiny_cityscapes.glob(f'{folder}/val/town/*.png'))[0]
    file.write_bytes(b'no picture')
    model = StripeModel()
    with pytest.raises(InputError, match='the first batch fails') as error:
        sweep(model).run()
    assert str(file) in str(error.value)
    assert '\n' not in str(error.value)
    assert not model.seen


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


def test_samples_are_spread(sweep):
    model = StripeModel()
    results = sweep(model, max_samples=2).run()
    names = [Path(path).name for path in model.seen[:2]]
    assert names == [f'town_{i:06d}_000019_leftImg8bit.png' for i in (0, 1)]
    assert results['dataset']['samples'] == 2
    assert results['dataset']['total'] == 3
    assert sweep(max_samples=99).run()['dataset']['samples'] == 3
    with pytest.raises(InputError, match='at least 1'):
        sweep(max_samples=0)


def test_what_is_passed_in_stays_as_it_was(cfg, sweep):
    loader = Runner.build_dataloader(cfg.test_dataloader)
    pipeline = loader.dataset.pipeline
    transforms = list(pipeline.transforms)
    image = loader.dataset[0]['inputs']
    model = StripeModel().train()
    sweep(model, loader=loader).run()
    assert loader.dataset.pipeline is pipeline
    assert pipeline.transforms == transforms
    assert model.training
    assert torch.equal(loader.dataset[0]['inputs'], image)


def test_the_palette_is_cut_to_the_classes(sweep):
    started = sweep(corruptions=['fog'], severities=[1])
    started.metainfo = {**started.metainfo, 'palette': [(i, i, i) for i in range(80)]}
    assert started.run()['dataset']['palette'] == [[i, i, i] for i in range(19)]


def test_pictures(sweep, tmp_path):
    def paint(image, sample):
        assert image.dtype == np.uint8
        labels = sample.pred_sem_seg.data[0].numpy().astype(np.uint8)
        return {'image': image, 'prediction': np.stack([labels] * 3, -1), 'ground_truth': image}

    results = sweep(work_dir=tmp_path, save_images=2, paint=paint).run()
    assert [(g['corruption'], g['severity']) for g in results['gallery']] == [
        (name, severity) for name in ('gaussian_noise', 'fog') for severity in (1, 1, 3, 3)
    ]
    shown = one_of_each(results['gallery'])
    assert [g['severity'] for g in shown] == [3] * 4 and len({g['key'] for g in shown}) == 2
    for entry in results['gallery']:
        assert set(entry['images']) == {
            'clean',
            'corrupted',
            'prediction_clean',
            'prediction_corrupted',
            'ground_truth',
        }
        pictures = {n: cv2.imread(str(tmp_path / p)) for n, p in entry['images'].items()}
        assert all(picture.shape == (64, 128, 3) for picture in pictures.values())
        assert np.abs(pictures['clean'].astype(int) - pictures['corrupted']).mean() > 3
    # Red and blue in their places.
    clean = tmp_path / results['gallery'][0]['images']['clean']
    source = next((tmp_path / 'cityscapes/leftImg8bit/val/town').glob('*_000000_*.png'))
    difference = cv2.imread(str(clean)).astype(int) - cv2.imread(str(source))
    assert np.abs(difference).mean() < 12
    # A sweep that goes on keeps the pictures.
    again = sweep(work_dir=tmp_path, save_images=2, paint=paint).run()
    assert again['gallery'] == results['gallery']


def test_pictures_never_fail_numbers(sweep, tmp_path):
    tried = []

    def paint(image, sample):
        tried.append(image)
        return {'image': image[:0]}  # nothing that a JPEG can hold

    results = sweep(work_dir=tmp_path, save_images=2, paint=paint).run()
    assert status(results) == dict.fromkeys(CELLS, 'done')
    assert results['gallery'] == []
    assert len(tried) == 1  # and said once


def test_annotations_are_not_kept(sweep):
    assert [set(info) for info in sweep().infos] == [{'img_path', 'img_id'}] * 3


def test_the_weights_are_the_identity_where_no_other_is_given(sweep, tmp_path):
    first = sweep(work_dir=tmp_path, model_info={'name': 'mine'}).run()
    assert first['model']['name'] == 'mine'
    assert first['model']['checkpoint_sha256'] == sweep().model_info['checkpoint_sha256']
    with pytest.raises(InputError, match='another checkpoint'):
        sweep(work_dir=tmp_path, model_info={'name': 'mine'}, **changed_weights())


def test_a_second_sweep_in_a_work_dir_is_refused(sweep, tmp_path):
    pytest.importorskip('fcntl')

    class Meanwhile(StripeModel):
        def forward(self, *args, **kwargs):
            with pytest.raises(InputError, match='another run is writing to'):
                sweep(work_dir=tmp_path)
            return super().forward(*args, **kwargs)

    assert status(sweep(Meanwhile(), work_dir=tmp_path).run()) == dict.fromkeys(CELLS, 'done')
    assert sweep(work_dir=tmp_path).run()['summary']['mean']['complete']


def test_a_sweep_that_another_has_overtaken_does_not_run(sweep, tmp_path):
    """The other one came between its opening of the folder and its first cell."""
    late = sweep(work_dir=tmp_path)
    sweep(work_dir=tmp_path, overwrite=True, **changed_weights()).run()
    before = {path: path.read_bytes() for path in tmp_path.glob('**/*.json')}
    with pytest.raises(InputError, match='holds a sweep with another checkpoint'):
        late.run()
    assert {path: path.read_bytes() for path in tmp_path.glob('**/*.json')} == before


def test_cells_of_the_same_sweep_that_came_meanwhile_are_taken(sweep, tmp_path):
    model = StripeModel()
    late = sweep(model, work_dir=tmp_path)
    expected = table(sweep(work_dir=tmp_path).run())
    assert table(late.run()) == expected
    assert not model.seen


@pytest.mark.parametrize('what', ['work dir', 'identity', 'cell'])
def test_what_is_removed_meanwhile_is_said(sweep, tmp_path, what):
    class Removing(StripeModel):
        def forward(self, *args, **kwargs):
            if len(self.seen) == 7:
                if what == 'work dir':
                    shutil.rmtree(tmp_path / 'out')
                else:
                    names = {'identity': 'sweep.json', 'cell': 'cells/gaussian_noise_1.json'}
                    (tmp_path / 'out' / names[what]).unlink()
            return super().forward(*args, **kwargs)

    with pytest.raises(InputError, match='removed or changed while the sweep ran'):
        sweep(Removing(), work_dir=tmp_path / 'out').run()
    assert not (tmp_path / 'out' / 'results.json').exists()


@pytest.mark.parametrize('overwrite', [False, True])
def test_what_a_kill_left_is_removed_and_nothing_else(sweep, tmp_path, overwrite):
    sweep(work_dir=tmp_path).run()
    left = ['.sweep.{}.json', '.results.{}.json', '.per_image.{}.npz', '.report.{}.html']
    left += ['.per_class.{}.csv', 'figures/.heat_map.{}.pdf', 'images/fog_1/.000001_image.{}.jpg']
    left += ['cells/.fog_1.{}.npz']
    left = [tmp_path / name.format('0123456789ab') for name in left]
    others = [tmp_path / name for name in ('.mine.0123456789ab.txt', '.results', 'figures/.a.png')]
    for path in (*left, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    sweep(work_dir=tmp_path, overwrite=overwrite).run()
    assert [path for path in left if path.exists()] == []
    assert [path for path in others if not path.exists()] == []


def test_subsets_of_torch(cfg, sweep):
    loader = Runner.build_dataloader(cfg.test_dataloader)
    parts = [torch.utils.data.Subset(loader.dataset, [i]) for i in (2, 0)]
    dataset = torch.utils.data.ConcatDataset(parts)
    model = StripeModel()
    part = torch.utils.data.DataLoader(dataset, collate_fn=loader.collate_fn)
    results = sweep(model, loader=part).run()
    names = [Path(path).name[:11] for path in model.seen[:2]]
    assert names == ['town_000002', 'town_000000']
    assert results['dataset']['classes'][0] == 'road'
    assert results['benchmark']['name'] == 'cityscapes-c-subset'


def test_overwrite_forgets_the_results_at_once(sweep, tmp_path):
    sweep(work_dir=tmp_path).run()
    sweep(work_dir=tmp_path, overwrite=True, **changed_weights())
    assert not (tmp_path / 'results.json').exists()
    assert not (tmp_path / 'per_image.npz').exists()


def test_default_benchmark(sweep):
    assert sweep(corruptions=None, severities=None).scope.benchmark is BENCHMARKS['cityscapes-c']


def test_a_full_disk_is_one_line(sweep, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, 'No space left on device', str(tmp_path / 'cells'))

    started = sweep(work_dir=tmp_path)
    monkeypatch.setattr('fan_mm.evaluation.cells.write_whole', full)
    with pytest.raises(InputError, match='cells: No space left on device'):
        started.run()


def test_bad_options(sweep):
    with pytest.raises(InputError, match='on_error'):
        sweep(on_error='ignore')
    with pytest.raises(InputError, match='did you mean'):
        sweep(corruptions=['fogg'])
    with pytest.raises(InputError, match='channel_order'):
        sweep(channel_order='brg')
    with pytest.raises(InputError, match='is not a folder'):
        sweep(corrupted_root='nowhere')
