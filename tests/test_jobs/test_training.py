"""Training and testing in this process; `tests/test_tools/test_train.py` has the command lines."""

import os
import pickle
import random
import re
import shutil
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from libraries import needs_classes_as_types
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, MODELS, DefaultScope
from PIL import Image, ImageFile

from fan_mm.datasets.scenes import write_imagenet
from fan_mm.engine.arguments import load_config
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError
from fan_mm.jobs.training import _set_painting, train
from fan_mm.jobs.training import test as evaluate

pytest.importorskip('mmseg')
CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture
def cfg(tiny_config, tmp_path):
    cfg = Config.fromfile(tiny_config)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.default_hooks.checkpoint.interval = 1
    return cfg


@pytest.fixture(scope='module')
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp('kept') / 'work'


@pytest.fixture
def trained(cfg, tmp_path, kept):
    """Two iterations: the first test that asks trains them, the others have their files."""
    work = tmp_path / 'work'
    if kept.exists():
        shutil.copytree(kept, work)
        (work / 'last_checkpoint').write_text(str(work / 'iter_2.pth'))
    else:
        train(Config(cfg._cfg_dict.to_dict()))
        shutil.copytree(work, kept)
    return work / 'iter_2.pth'


def test_train_then_test(cfg, trained, tmp_path):
    cfg.test_evaluator = dict(cfg.test_evaluator)
    metrics = evaluate(
        cfg, str(trained), out=str(tmp_path / 'out'), show_dir=str(tmp_path / 'show')
    )
    assert set(metrics) == {'aAcc', 'mIoU', 'mAcc'}
    assert len(list((tmp_path / 'out').glob('*.png'))) == 3


def test_a_label_map_that_is_cut_short_ends_a_test(cfg, trained, monkeypatch):
    """In one line, even where Pillow is told to fill it: with zeros, which are a class."""
    label = sorted(Path(cfg.test_dataloader.dataset.data_root).glob('gtFine/val/town/*.png'))[1]
    noise = np.random.default_rng(0).integers(0, 19, (64, 128), np.uint8)
    Image.fromarray(noise).save(label)
    label.write_bytes(label.read_bytes()[:4000])
    monkeypatch.setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', True)
    cfg.test_dataloader.num_workers = 1
    with pytest.raises(InputError, match=f'^{label} is truncated: get it again$'):
        evaluate(cfg, str(trained))


def test_test_time_augmentation(cfg, trained):
    one = cfg.test_dataloader.dataset
    cfg.test_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[one, dict(type='RepeatDataset', times=1, dataset=one)]
    )
    assert 'mIoU' in evaluate(cfg, str(trained), tta=True)
    del cfg._cfg_dict['tta_pipeline']
    with pytest.raises(InputError, match='tta_pipeline'):
        evaluate(cfg, str(trained), tta=True)


@pytest.mark.slow
def test_compiled_by_mmengines_option(cfg, tmp_path):
    """Trained, validated and tested: the numbers are those without, and the weights have no other names."""
    # Adam takes as large a step along a gradient that is rounding alone
    cfg.optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
    cfg.model.test_cfg.mode = 'whole'
    cfg.model.backbone.token_pooling = 2
    cfg.default_hooks.attention_diversity = dict(type='AttentionDiversityHook', threshold=0.5)
    runs = []
    for compile_ in (False, dict(backend='eager')):
        run = Config(cfg._cfg_dict.to_dict())
        run.compile = compile_
        run.work_dir = str(tmp_path / f'compiled {bool(compile_)}')
        train(Config(run._cfg_dict.to_dict()))
        file = f'{run.work_dir}/iter_2.pth'
        runs.append((torch.load(file, weights_only=False)['state_dict'], evaluate(run, file)))
    (plain, scores), (compiled, again) = runs
    assert plain.keys() == compiled.keys()
    assert scores == pytest.approx(again, abs=0.05)
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, atol=1e-4, rtol=1e-3)


def test_resume_goes_on_with_seed_and_iteration(cfg, trained):
    seed = 123
    state = torch.load(trained, weights_only=False)
    assert state['meta']['seed'] == 0
    state['meta']['seed'] = seed
    torch.save(state, trained)
    cfg.train_cfg.update(max_iters=3)
    train(cfg, resume='auto')
    assert cfg.randomness.seed == seed
    state = torch.load(trained.with_name('iter_3.pth'), weights_only=False)
    assert state['meta']['iter'] == 3
    assert state['meta']['seed'] == seed


@HOOKS.register_module()
class DrawHook(Hook):
    """Notes the random numbers that an iteration meets."""

    seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append((random.random(), np.random.rand(), torch.rand(()).item()))


def test_a_resumed_training_repeats_no_random_numbers(cfg):
    cfg.custom_hooks = [dict(type='DrawHook')]
    DrawHook.seen.clear()
    fresh = Config(cfg._cfg_dict.to_dict())
    fresh.train_cfg.update(max_iters=1)
    train(fresh)
    for _ in range(2):
        rest = Config(cfg._cfg_dict.to_dict())
        train(rest, resume=f'{cfg.work_dir}/iter_1.pth')
    first, second, again = DrawHook.seen
    assert all(a != b for a, b in zip(first, second, strict=True))
    assert again == second


def test_resume_falls_back_to_the_checkpoint_before(cfg, trained):
    os.truncate(trained, trained.stat().st_size - 100)
    train(cfg, resume='auto')
    assert torch.load(trained, weights_only=False)['meta']['iter'] == 2
    assert cfg.load_from.endswith('iter_1.pth')


def test_another_models_training_is_not_resumed(cfg, trained):
    """A FAN's by one with token pooling, whose optimizer has more parameters."""
    cfg.model.backbone.token_pooling = 2
    expected = (
        f"{trained} is of another config's training (load_from uses only its weights): loaded"
    )
    with pytest.raises(InputError, match=re.escape(expected)):
        train(cfg, resume='auto')


def test_another_optimizers_training_is_not_resumed(cfg, trained):
    cfg.optim_wrapper.optimizer = dict(type='SGD', lr=0.1, weight_decay=0.1)
    line = r"is of another config's training .*: its optimizer has no dampening, momentum, which SGD needs$"
    with pytest.raises(InputError, match=line):
        train(cfg, resume='auto')


def test_nothing_to_resume_starts_anew(cfg, tmp_path):
    train(cfg, resume='auto')
    assert (tmp_path / 'work' / 'iter_2.pth').is_file()


def test_configs_with_classes_for_types_and_without_load_from(cfg, tmp_path):
    """As mmengine's new style of configs (``read_base``) has them."""
    cfg.optim_wrapper.type = OptimWrapper
    cfg.model.backbone.norm_cfg.type = torch.nn.SyncBatchNorm
    for name in ('load_from', 'resume'):
        cfg._cfg_dict.pop(name, None)
    train(cfg, amp=True)
    assert cfg.optim_wrapper.type == 'CpuAmpOptimWrapper'
    assert cfg.model.backbone.norm_cfg.type == 'BN'


def test_amp_and_auto_scale_lr(cfg, tmp_path):
    cfg.auto_scale_lr.base_batch_size = 4
    train(cfg, amp=True, auto_scale_lr=True)
    state = torch.load(tmp_path / 'work' / 'iter_2.pth', weights_only=False)
    assert state['optimizer']['param_groups'][0]['initial_lr'] == pytest.approx(1e-3 * 2 / 4)


def test_malicious_checkpoints_are_refused(cfg, trained, tmp_path, malicious):
    evil = tmp_path / 'evil.pth'
    torch.save(dict(torch.load(trained, weights_only=False), extra=malicious), evil)
    for job in (
        lambda: evaluate(cfg, str(evil)),
        lambda: train(cfg, resume=str(evil)),
        lambda: train(_with(cfg, load_from=str(evil), resume=False)),
        lambda: train(_with(cfg, load_from=str(evil), resume=True)),
    ):
        with pytest.raises(InputError, match='refused') as error:
            job()
        assert '\n' not in str(error.value)


def _with(cfg, **entries):
    cfg = Config(cfg._cfg_dict.to_dict())
    cfg.update(entries)
    return cfg


def test_output_of_mmseg_is_a_folder(cfg, trained, tmp_path):
    (tmp_path / 'file').touch()
    for out in ('labels.pkl', 'file'):
        with pytest.raises(InputError, match='for mmseg, --out must be a folder'):
            evaluate(cfg, str(trained), out=str(tmp_path / out))


def test_output_of_other_tasks_is_a_pickle(cfg, trained, tmp_path):
    cfg.default_scope = 'mmdet'
    with pytest.raises(InputError, match=r'must end in .pkl'):
        evaluate(cfg, str(trained), out=str(tmp_path / 'out'))


@pytest.mark.parametrize('name', ['seg.pth', 'README.md', ''])
def test_what_is_no_config(tmp_path, name):
    (tmp_path / 'seg.pth').touch()
    (tmp_path / 'README.md').touch()
    with pytest.raises(InputError, match=r'is not a config .* the order is CONFIG CHECKPOINT'):
        load_config(Namespace(config=str(tmp_path / name)))


def classifier(tmp_path, evaluator):
    """A config of the toy classifier, and untrained weights."""
    pytest.importorskip('mmpretrain')
    write_imagenet(tmp_path / 'toy', (80, 80), 10, 10, jobs=1)
    cfg = Config.fromfile(CONFIGS / 'fan_hybrid_toy_imagenet.py')
    cfg.test_dataloader.dataset.data_root = str(tmp_path / 'toy')
    cfg.test_evaluator = evaluator
    cfg.work_dir = str(tmp_path / 'work')
    register_task_library(cfg)
    preprocessor = dict(cfg.data_preprocessor, type='ClsDataPreprocessor')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(cfg.model, data_preprocessor=preprocessor))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    return cfg, str(tmp_path / 'model.pth')


ACCURACY = dict(type='Accuracy', topk=(1,))


@pytest.mark.parametrize(
    'evaluator',
    [
        ACCURACY,
        [ACCURACY],
        dict(metrics=ACCURACY),
        dict(type='Evaluator', metrics=[ACCURACY]),
        pytest.param(
            dict(type=Evaluator, metrics=[dict(ACCURACY, type='mmpretrain.Accuracy')]),
            marks=needs_classes_as_types,
        ),
    ],
)
def test_predictions_are_written_beside_any_evaluator(tmp_path, evaluator):
    cfg, weights = classifier(tmp_path, evaluator)
    file = tmp_path / 'predictions.pkl'
    assert 'accuracy/top1' in evaluate(cfg, weights, out=str(file))
    predictions = pickle.loads(file.read_bytes())
    assert len(predictions) == 10
    assert all('pred_score' in prediction for prediction in predictions)


def test_a_metric_that_does_not_fit_is_said_at_the_first_batch(tmp_path):
    cfg, weights = classifier(tmp_path, dict(type='Accuracy', topk=(1, 50)))
    with pytest.raises(
        InputError, match=r'test_evaluator: Accuracy cannot compute: .*Top-50'
    ) as error:
        evaluate(cfg, weights)
    assert '\n' not in str(error.value)


@needs_classes_as_types
@pytest.mark.parametrize(
    'form', [lambda m: [m], lambda m: dict(metrics=m), lambda m: dict(type=Evaluator, metrics=[m])]
)
def test_labels_are_written_by_any_evaluator(cfg, trained, tmp_path, form):
    cfg.default_scope = None  # the model's type tells
    cfg.model.type = MODELS.get('mmseg.EncoderDecoder')
    cfg._cfg_dict['test_evaluator'] = ConfigDict(e=form(dict(cfg.test_evaluator))).e
    metrics = evaluate(cfg, str(trained), out=str(tmp_path / 'out'))
    assert 'mIoU' in metrics
    assert len(list((tmp_path / 'out').glob('*.png'))) == 3


@pytest.mark.parametrize(
    ('kind', 'every'),
    [('DetVisualizationHook', 'interval'), ('mmdet.TrackVisualizationHook', 'frame_interval')],
)
def test_every_picture_is_painted_whatever_the_hook_calls_that(tmp_path, kind, every):
    cfg = Config(
        dict(default_scope='mmdet', default_hooks=dict(visualization=dict(type=kind, draw=False)))
    )
    _set_painting(cfg, show=False, show_dir=str(tmp_path / 'painted'), wait_time=0)
    hook = cfg.default_hooks.visualization
    assert hook.draw and hook.test_out_dir == str(tmp_path / 'painted')
    assert {name for name in hook if 'interval' in name} == {every} and hook[every] == 1
