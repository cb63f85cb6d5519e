"""Pictures and labels of a sweep that are damaged, missing or too small: one line, and no wrong score."""

import cv2
import numpy as np
import pytest
from PIL import ImageFile
from stripe_model import StripeModel
from stripe_sweeps import CELLS, half, status

from fan_mm.datasets.corrupted.generate import generate
from fan_mm.errors import InputError
from fan_mm.jobs.robustness import summary_text
from fan_mm.report.comparison_files import write_comparison
from fan_mm.report.report import write_report


@pytest.fixture
def jpegs(cfg, tiny_cityscapes):
    """The validation pictures as JPEG files."""
    for file in sorted(tiny_cityscapes.glob('leftImg8bit/val/town/*.png')):
        cv2.imwrite(str(file.with_suffix('.jpg')), cv2.imread(str(file)))
    cfg.test_dataloader.dataset.img_suffix = '_leftImg8bit.jpg'
    return sorted(tiny_cityscapes.glob('leftImg8bit/val/town/*.jpg'))


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
