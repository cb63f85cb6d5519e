"""What the options of training and testing make of a config, and what they refuse."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.registry import OPTIMIZERS

from fan_mm.errors import InputError
from fan_mm.jobs import training


def amp(optim_wrapper):
    cfg = Config(dict(optim_wrapper=optim_wrapper))
    training._set_amp(cfg)
    return cfg.optim_wrapper


@pytest.mark.parametrize(
    ('given', 'set_', 'words'),
    [
        (
            {'optimizer': 1},
            {'optimizer': 1, 'type': 'AmpOptimWrapper', 'loss_scale': 'dynamic'},
            '',
        ),
        ({'type': 'OptimWrapper'}, {'type': 'AmpOptimWrapper', 'loss_scale': 'dynamic'}, ''),
        (
            {'type': 'AmpOptimWrapper', 'loss_scale': 9},
            {'type': 'AmpOptimWrapper', 'loss_scale': 9},
            '',
        ),
        ({'type': 'Own'}, None, r'^--amp replaces an OptimWrapper, but the config has Own$'),
        (None, None, r'^--amp: the config has no optim_wrapper$'),
    ],
)
def test_amp(given, set_, words):
    with pytest.raises(InputError, match=words) if words else nullcontext():
        assert amp(given) == set_


@pytest.mark.parametrize('given', [None, dict(enable=False)])
def test_a_learning_rate_for_no_known_batch_size(given, tmp_path):
    cfg = Config(dict(auto_scale_lr=given, work_dir=str(tmp_path)))
    with pytest.raises(InputError, match=r'^--auto-scale-lr: the config does not say'):
        training.train(cfg, auto_scale_lr=True)


@pytest.mark.parametrize(
    ('scope', 'where'),
    [
        ('mmseg', ('draw', None)),
        ('mmpretrain', ('enable', 'out_dir')),
        ('mmdet', ('draw', 'test_out_dir')),
    ],
)
@pytest.mark.parametrize('folder', [None, 'painted'])
def test_painting(scope, where, folder, tmp_path):
    hooks = dict(visualization=dict(type='VisualizationHook'))
    cfg = Config(dict(default_scope=scope, default_hooks=hooks, visualizer=dict(type='Visualizer')))
    folder = folder and str(tmp_path / folder)
    training._set_painting(cfg, True, folder, 3.0)
    on, out = where
    expected = {
        'type': 'VisualizationHook',
        'show': True,
        'wait_time': 3.0,
        'interval': 1,
        on: True,
    }
    expected |= {out: folder} if out and folder else {}
    assert cfg.default_hooks.visualization == expected
    assert cfg.visualizer.get('save_dir') == (folder if scope == 'mmseg' else None)
    assert folder is None or (tmp_path / 'painted').is_dir()


@pytest.mark.parametrize('hooks', [None, {}, dict(visualization=None)])
def test_painting_without_a_hook(hooks):
    with pytest.raises(InputError, match=r'^--show and --show-dir need a visualization hook'):
        training._set_painting(Config(dict(default_hooks=hooks)), True, None, 0)


def test_test_time_augmentation():
    inner = dict(type='CocoDataset', pipeline=['a'])
    given = dict(
        tta_model=dict(type='TTA'),
        tta_pipeline=[dict(type='TestTimeAug')],
        model=dict(type='FCOS'),
        test_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=[inner, dict(inner)])),
    )
    cfg = Config(given)
    training._set_tta(cfg)
    first, second = cfg.test_dataloader.dataset.datasets
    assert first.pipeline == second.pipeline == cfg.tta_pipeline
    assert first.pipeline is not second.pipeline
    assert cfg.model == dict(type='TTA', module=dict(type='FCOS'))
    for name in ('tta_model', 'tta_pipeline'):
        with pytest.raises(InputError, match=rf'^--tta: the config has no {name}$'):
            training._set_tta(Config(given | {name: None}))


def test_test_time_augmentation_of_classifiers_without_one_of_their_own():
    """As in mmpretrain's own tool."""
    given = dict(
        default_scope='mmpretrain',
        model=dict(type='ImageClassifier'),
        test_dataloader=dict(dataset=dict(type='ImageNet', pipeline=['load', 'pack'])),
    )
    cfg = Config(given)
    training._set_tta(cfg)
    load, last = cfg.test_dataloader.dataset.pipeline
    flips, packing = last['transforms']
    assert (load, last['type'], packing) == ('load', 'TestTimeAug', ['pack'])
    assert [(flip['type'], flip['prob']) for flip in flips] == [
        ('RandomFlip', 1),
        ('RandomFlip', 0),
    ]
    assert cfg.model.type == 'mmpretrain.AverageClsScoreTTA'
    assert cfg.model.module == dict(type='ImageClassifier')
    cfg = Config(given | dict(tta_pipeline=['own']))
    training._set_tta(cfg)
    assert cfg.test_dataloader.dataset.pipeline == ['own']
    given['test_dataloader']['dataset'].pop('pipeline')
    with pytest.raises(InputError, match=r'^--tta: test_dataloader\.dataset has no pipeline$'):
        training._set_tta(Config(given))
    with pytest.raises(InputError, match=r'^--tta: the config has no tta_pipeline$'):
        training._set_tta(Config(given | dict(tta_model=dict(type='TTA'))))


@pytest.mark.parametrize(
    ('scope', 'out', 'kind'),
    [
        ('mmdet', 'a/b.pkl', 'DumpDetResults'),
        ('mmpretrain', 'a/b.pickle', 'DumpResults'),
        ('mmdet', 'a/b', None),
        ('mmpretrain', 'a/b.json', None),
    ],
)
def test_a_file_of_predictions(scope, out, kind, tmp_path):
    out = str(tmp_path / out)
    with nullcontext() if kind else pytest.raises(InputError, match=f'not {out}$'):
        dump = training._set_output(Config(dict(default_scope=scope)), out)
        assert dump == dict(type=kind, out_file_path=out) and (tmp_path / 'a').is_dir()


class Built:
    """A metric that writes, built already."""

    output_dir = keep_results = None


@pytest.mark.parametrize('is_main', [True, False])
@pytest.mark.parametrize(
    ('metrics', 'writes'),
    [
        ([dict(type='IoUMetric')], 0),
        ([dict(type='Own'), dict(type='Other')], 0),
        ([dict(type='Own'), dict(type='DepthMetric')], 1),
        ([dict(type='Own'), dict(type='CityscapesMetric'), dict(type='IoUMetric')], 1),
        ([object(), Built()], 1),
        ([object(), dict(type='Own')], 1),
        ([object()], None),
        ([], None),
    ],
)
def test_a_folder_of_label_maps(metrics, writes, is_main, monkeypatch, tmp_path):
    monkeypatch.setattr(training, 'metrics_of', list)
    monkeypatch.setattr(training, 'scope_of', lambda cfg: 'mmseg')
    monkeypatch.setattr(training, 'is_main_process', lambda: is_main)
    cfg = SimpleNamespace(test_evaluator=metrics)
    out = str(tmp_path / 'out')
    words = r'^--out: the evaluator has no metric that writes label maps \(IoUMetric, Cityscapes'
    with pytest.raises(InputError, match=words) if writes is None else nullcontext():
        assert training._set_output(cfg, out) is None
        for index, metric in enumerate(metrics):
            options = (
                metric
                if isinstance(metric, dict)
                else vars(metric)
                if metric.__class__ is Built
                else {}
            )
            expected = (out, True) if index == writes else (None, None)
            assert (options.get('output_dir'), options.get('keep_results')) == expected
        assert (tmp_path / 'out').is_dir() == (is_main or isinstance(metrics[writes], dict))


@pytest.mark.parametrize('out', ['labels.pkl', 'file'])
def test_a_folder_is_no_file(out, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(InputError, match=rf'^for mmseg, --out must be a folder .*/{out}$'):
        training._set_output(Config(dict(default_scope='mmseg')), str(tmp_path / out))


def test_how_to_go_on(tmp_path):
    assert training._how_to_go_on('w', True) == 'w contains no checkpoint yet'
    (tmp_path / 'last_checkpoint').write_text('w/iter_2.pth')
    # another process may have no work dir
    assert (
        training._how_to_go_on('w', False)
        == 'the same command with --resume continues from the last checkpoint'
    )
    line = training._how_to_go_on(str(tmp_path), True)
    assert line.startswith('the last checkpoint is w/iter_2.pth; the same command with --resume')


@pytest.mark.parametrize(
    ('hook', 'refused'),
    [
        (CheckpointHook(save_optimizer=False, backend_args=None), False),
        (CheckpointHook(max_keep=3), True),
        (LoggerHook(), False),
        (SimpleNamespace(args=dict(max_keep=3)), False),  # of another kind
    ],
)
def test_options_of_checkpoints(hook, refused):
    def save_checkpoint(out_dir, filename, save_optimizer, backend_args):
        raise NotImplementedError

    runner = SimpleNamespace(save_checkpoint=save_checkpoint, hooks=[hook])
    words = r'^default_hooks\.checkpoint: CheckpointHook has no argument max_keep$'
    with pytest.raises(InputError, match=words) if refused else nullcontext():
        training._check_saving(runner)


def test_an_optimizer_that_nobody_has():
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='Adamm'))))
    with pytest.raises(
        InputError, match=r'^optim_wrapper\.optimizer: nothing is registered as Adamm'
    ):
        training._check_optimizer(cfg)
    training._check_optimizer(Config(dict(optim_wrapper=dict(optimizer=OPTIMIZERS.get('SGD')))))
    training._check_optimizer(Config(dict(optim_wrapper={})))


@pytest.mark.parametrize('there', [True, False])
def test_resuming(there, monkeypatch):
    found = ('w/iter_2.pth' if there else None), ['one was damaged']
    monkeypatch.setattr(training, 'newest_checkpoint', lambda work_dir: found)
    meta = {'meta': {'seed': 5, 'iter': 2}}
    monkeypatch.setattr(training, 'read_training_state', {'w/iter_2.pth': meta, 'b.pth': meta}.get)
    cfg = Config(
        dict(work_dir='w', load_from='a.pth', resume=True, randomness=dict(deterministic=True))
    )
    damaged, line = training._set_resume(cfg, 'auto')
    assert damaged == 'one was damaged'
    if there:
        assert line == 'resuming from w/iter_2.pth, iteration 2'
        assert cfg.randomness == dict(deterministic=True, seed=5)
        assert (cfg.resume, cfg.load_from) == (True, 'w/iter_2.pth')
    else:
        assert line == 'no checkpoint to resume in w, starting from the beginning'
        assert (cfg.resume, cfg.load_from) == (False, 'a.pth')
    assert training._set_resume(cfg, 'b.pth') == ['resuming from b.pth, iteration 2']
    assert (cfg.resume, cfg.load_from) == (True, 'b.pth')


@pytest.mark.parametrize(('shared', 'said'), [(True, []), (False, ['labels', 'painted'])])
def test_files_of_several_machines_in_folders_of_their_own_are_said(shared, said, monkeypatch):
    lines = []
    monkeypatch.setattr(training, 'shared_by_all', lambda folder: shared)
    monkeypatch.setattr(training, 'warn', lambda line: lines.append(line))
    training._say_shares('labels', 'painted')
    training._say_shares('of_all.pkl', None)  # written by one process
    assert [line.split(':')[1].split()[-1] for line in lines] == said
