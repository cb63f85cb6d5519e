"""What surrounds a sweep: facts about its model, what it refuses, the order of hooks and report."""

import contextlib
import hashlib
import os
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from fan_mm.errors import InputError
from fan_mm.evaluation.identity import config_sha256, file_sha256
from fan_mm.jobs import testing


@pytest.fixture
def weights(tmp_path):
    file = tmp_path / 'weights.pth'
    file.write_bytes(b'weights')
    return str(file)


def test_what_results_say_about_the_model(weights, tmp_path):
    cfg = Config(dict(model=dict(type='mmseg.EncoderDecoder')))
    info = testing.model_info(cfg, weights)
    assert info == {
        'name': 'EncoderDecoder',
        'config': None,
        'checkpoint': weights,
        'config_sha256': config_sha256(cfg),
        'checkpoint_sha256': file_sha256(weights),
    }
    (tmp_path / 'fan_tiny.py').write_text("model = dict(type='EncoderDecoder')")
    info = testing.model_info(Config.fromfile(tmp_path / 'fan_tiny.py'), weights)
    assert info['name'] == 'fan_tiny'
    assert info['config'] == os.path.relpath(tmp_path / 'fan_tiny.py')


@pytest.mark.parametrize('loaders', [[dict(), dict()], (dict(), dict())])
def test_several_loaders_are_refused(loaders, weights):
    with pytest.raises(InputError, match=r'^test_dataloader is a list of 2: tools/test\.py'):
        testing.model_info(Config(dict(test_dataloader=loaders, model=dict(type='A'))), weights)


@pytest.fixture
def calls(monkeypatch):
    """What is done to a runner, in order."""
    noted = []
    monkeypatch.setattr(testing, 'load_weights', lambda *args: noted.append(('weights', *args[1:])))
    monkeypatch.setattr(testing, 'other_order', lambda *args: [f'another order: {args}'])
    monkeypatch.setattr(testing, 'warn', lambda line: noted.append(line))
    monkeypatch.setattr(testing, 'write_report', lambda *args: noted.append(('report', *args)))
    monkeypatch.setattr(testing, 'barrier', lambda: noted.append('barrier'))
    return noted


class FakeRunner:
    model = None

    def __init__(self, calls, loop):
        self.calls, self.test_loop = calls, loop

    def call_hook(self, name, **options):
        self.calls.append((name, options) if options else name)

    def load_or_resume(self):
        self.calls.append('load')


@pytest.mark.parametrize(
    ('checkpoint', 'loaded', 'known'), [('w.pth', 'w.pth', True), ('w.onnx', None, False)]
)
def test_a_model_is_brought_to_its_test(checkpoint, loaded, known, calls, monkeypatch):
    dataset = SimpleNamespace(metainfo='classes')
    loop = SimpleNamespace(evaluator=1, dataloader=SimpleNamespace(dataset=dataset))
    runner = FakeRunner(calls, loop)
    built = []
    monkeypatch.setattr(
        testing, 'build_runner', lambda cfg, *args, notes: built.append((args, notes)) or runner
    )
    monkeypatch.setattr(testing, 'local_file', lambda file: file)
    monkeypatch.setattr(testing, 'is_onnx', lambda file: file.endswith('.onnx'))
    monkeypatch.setattr(testing, 'knows_its_classes', lambda model: known)
    cfg = Config(dict(resume=True, load_from='other.pth', model={}, test_dataloader=None))
    assert testing.ready_to_test(cfg, 'content', checkpoint, 'slurm', ['note']) == (runner, loop)
    assert built == [(('slurm',), ['note'])] and (cfg.resume, cfg.load_from) == (False, loaded)
    line = f"fan_mm: another order: ('content', '{checkpoint}', 'classes')"
    assert calls == [
        ('weights', 'content', checkpoint),
        *([line] if known else []),
        *('before_run', 'load', 'before_test', 'before_test_epoch'),
    ]


def test_loops_and_loaders_that_are_no_sweeps(calls, monkeypatch):
    runner = FakeRunner(calls, SimpleNamespace())
    monkeypatch.setattr(testing, 'build_runner', lambda *args, **options: runner)
    monkeypatch.setattr(testing, 'local_file', lambda file: file)
    with pytest.raises(InputError, match=r'^test_cfg: SimpleNamespace has no evaluator; a sweep'):
        testing.ready_to_test(Config(dict(test_dataloader={})), None, 'w.pth', 'none')
    cfg = Config(dict(test_dataloader=dict(num_batch_per_epoch=2)))
    with pytest.raises(
        InputError, match=r'^test_dataloader\.num_batch_per_epoch: a sweep takes all'
    ):
        testing.ready_to_test(cfg, None, 'w.pth', 'none')


@pytest.mark.parametrize('loop', [SimpleNamespace(), SimpleNamespace(dataloader=None)])
def test_a_loop_that_has_no_dataset_has_no_classes(loop, calls, monkeypatch):
    monkeypatch.setattr(testing, 'knows_its_classes', lambda model: True)
    testing.say_other_classes(Config(dict(model=None)), 'content', 'w.pth', loop)
    assert calls == ["fan_mm: another order: ('content', 'w.pth', None)"]


@pytest.mark.parametrize(
    ('model', 'beside', 'red', 'said'),
    [
        (dict(data_preprocessor=dict(bgr_to_rgb=True)), None, True, 'data_preprocessor.bgr_to_rgb'),
        (dict(), dict(to_rgb=True), True, 'data_preprocessor.to_rgb'),
        (dict(), dict(to_rgb=True), False, None),
        (dict(), dict(rgb_to_bgr=True), True, None),  # as it says
        (dict(), None, True, None),
    ],
)
def test_colours_that_are_exchanged_again_are_said(model, beside, red, said, calls, monkeypatch):
    monkeypatch.setattr(testing, 'red_first', lambda dataset: red)
    cfg = Config(dict(model=model, data_preprocessor=beside))
    testing.say_red_first(cfg, SimpleNamespace())
    assert len(calls) == bool(said)
    assert not said or f'images with red first, and {said} exchanges red and blue' in calls[0]


RGB_MEAN = [123.675, 116.28, 103.53]


@pytest.mark.parametrize(
    ('options', 'red', 'said'),
    [
        (dict(mean=RGB_MEAN, to_rgb=True), False, None),
        (dict(mean=RGB_MEAN), True, None),
        (dict(mean=RGB_MEAN), False, 'with red first, but the model gets blue first'),
        (
            dict(mean=RGB_MEAN, rgb_to_bgr=True),
            True,
            'with red first, but the model gets blue first',
        ),
        (dict(mean=RGB_MEAN[::-1]), False, None),
        (dict(mean=(102.9801, 115.9465, 122.7717), bgr_to_rgb=True), False, 'with blue first, but'),
        (dict(mean=RGB_MEAN[::-1]), True, 'with blue first, but the model gets red first'),
        (dict(mean=[122.77, 116.75, 104.09]), False, 'with red first, but'),  # CLIP's
        (dict(mean=[125.307, 122.961, 113.8575]), False, None),  # of other images
        (dict(mean=[127.5] * 3), False, None),
        (dict(mean=[127.5]), False, None),
        (dict(mean=None), False, None),
    ],
)
def test_a_mean_in_the_other_order_is_said(options, red, said, calls, monkeypatch):
    monkeypatch.setattr(testing, 'red_first', lambda dataset: red)
    testing.say_red_first(Config(dict(model={}, data_preprocessor=options)), SimpleNamespace())
    assert len(calls) == bool(said)
    assert not said or (said in calls[0] and calls[0].endswith('right only if it was trained so'))


@pytest.mark.parametrize(
    ('paths', 'option', 'said'),
    [
        (['a/0.png', 'b/1.png'], '--out', None),
        (['a/0.png', 'b/0.png', 'c/1.png'], '--out', '3 images have 2 different names, such as 0'),
        (['a/0.png', 'b/0.jpg'], '--out', '2 images have 1 different names, such as 0 for 2'),
        (['a/0.png', 'b/0.jpg'], '--show-dir', None),
        (['a/0.png', 'b/0.png'], '--show-dir', '2 images have 1 different names, such as 0.png'),
        ([None], '--out', None),
    ],
)
def test_images_whose_files_would_have_one_name_are_said(paths, option, said, calls):
    class Dataset(list):
        def get_data_info(self, index):
            return dict(img_path=self[index])

    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=Dataset(paths)))
    testing.say_same_names(loop, option)
    testing.say_same_names(SimpleNamespace(), option)  # nothing to look at
    assert [f'fan_mm: {option}: {said}' in call for call in calls] == [True] * bool(said)


@pytest.mark.parametrize('is_main', [True, False])
def test_the_end(is_main, calls, monkeypatch, tmp_path):
    monkeypatch.setattr(testing, 'is_main_process', lambda: is_main)
    loop = SimpleNamespace()
    sweep = SimpleNamespace(loader=lambda cells: f'loader of {cells}', cells='all')
    testing.end_test(FakeRunner(calls, loop), loop, sweep, {'robustness/mean': 1.0}, tmp_path)
    assert loop.dataloader == 'loader of all'
    assert calls == [
        ('after_test_epoch', {'metrics': {'robustness/mean': 1.0}}),
        *('after_test', 'after_run'),
        *([('report', tmp_path / 'results.json', tmp_path)] if is_main else []),
        'barrier',
    ]


@pytest.mark.parametrize(
    ('source', 'text'), [('{}/model.pth', 'model.pth HASH'), ('s3://bucket/model.pth', 'model.pth')]
)
def test_weights_are_compared_by_content(source, text, tmp_path, monkeypatch):
    (tmp_path / 'model.pth').write_bytes(b'weights')
    texts = []
    monkeypatch.setattr(testing, 'refuse_differences', lambda _, value, __: texts.append(value()))
    testing.refuse_other_weights(source.format(tmp_path))
    assert texts == [text.replace('HASH', hashlib.sha256(b'weights').hexdigest()[:8])]


@pytest.mark.parametrize(
    ('model', 'steps', 'refused'),
    [
        ({}, ['LoadImageFromFile'], True),
        ({}, ['LoadImageFromFile', 'mmcv.Normalize'], False),
        (dict(data_preprocessor=dict(mean=[0.0])), ['LoadImageFromFile'], False),
        (dict(data_preprocessor=dict(to_rgb=True)), ['LoadImageFromFile'], True),
        ({}, [dict], False),  # of one's own: it may
    ],
)
def test_an_exported_file_whose_pixels_nothing_normalises(model, steps, refused):
    dataset = dict(type='D', pipeline=[dict(type=step) for step in steps])
    cfg = Config(dict(model=model, test_dataloader=dict(dataset=dataset)))

    def content(**made):
        return dict(onnx=None, meta=dict(export=dict(normalisation=made)))

    with (
        pytest.raises(InputError, match=r'^a\.onnx was exported .* mean of \[9\], but neither')
        if refused
        else (contextlib.nullcontext())
    ):
        testing.check_normalised(cfg, content(mean=[9]), 'a.onnx')
    testing.check_normalised(cfg, content(), 'a.onnx')
    testing.check_normalised(cfg, dict(meta=dict(epoch=1)), 'a.pth')
    testing.check_normalised(cfg, None, 'a.pth')
