"""The whole command, on untouched configs of the three libraries and on its own."""

import functools
import hashlib
import json
import os
import re
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import LOOPS, MODELS, DefaultScope
from mmengine.runner import BaseLoop

from fan_mm.errors import InputError
from fan_mm.evaluation import RobustnessSweep, read_results
from fan_mm.evaluation.progress import Progress
from fan_mm.jobs import training
from fan_mm.jobs.robustness import (
    evaluate_robustness,
    failed_cells,
    summary_text,
    use_annotated_split,
)


def installed_config(library, name):
    """A config file as the installed package carries it."""
    package = pytest.importorskip(library)
    path = Path(package.__file__).parent / '.mim' / 'configs' / name
    assert path.is_file()
    return Config.fromfile(path)


def save_weights(cfg, path):
    """Untrained weights for a config's model."""
    scope = cfg.default_scope
    __import__(f'{scope}.utils', fromlist=['utils']).register_all_modules(init_default_scope=False)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build({**cfg.model, 'pretrained': None} if scope == 'mmseg' else cfg.model)
    for name, parameter in model.named_parameters():
        if name.endswith('retina_cls.bias'):
            torch.nn.init.zeros_(parameter)  # so that something is detected
    torch.save({'state_dict': model.state_dict(), 'meta': {}}, path)
    return str(path)


def metrics_of(results, cell=0):
    return results['cells'][cell]['metrics']


def accuracy_of(results):
    """The accuracy of the clean cell by the bins of its calibration."""
    bins = results['cells'][0]['calibration']['plain']['bins']
    right = sum(n * a for n, a in zip(bins['count'], bins['accuracy'], strict=True) if n)
    return right / sum(bins['count'])


def test_segmentation_resnet_config_of_mmseg(tiny_cityscapes, tmp_path):
    """Changed by what a user gives as --cfg-options only; clean is what tools/test.py measures."""
    name = 'fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py'
    options = {
        'test_dataloader.dataset.data_root': str(tiny_cityscapes),
        'test_dataloader.dataset.pipeline.1.scale': (128, 64),
        'test_dataloader.num_workers': 0,
        'test_dataloader.persistent_workers': False,
    }

    def config():
        cfg = installed_config('mmseg', name)
        cfg.merge_from_dict(options)
        cfg.work_dir = str(tmp_path / 'test')
        return cfg

    weights = save_weights(config(), tmp_path / 'weights.pth')
    expected = training.test(config(), weights)
    results = evaluate_robustness(
        config(),
        weights,
        tmp_path / 'out',
        corruptions=['fog'],
        severities=[3],
        save_images=1,
        calibration=True,
    )
    assert metrics_of(results) == {
        name: pytest.approx(float(expected[name]), abs=1e-4) for name in ('mIoU', 'aAcc', 'mAcc')
    }
    assert accuracy_of(results) == pytest.approx(metrics_of(results)['aAcc'], abs=0.006)
    assert not failed_cells(results)
    assert results['model']['name'] == 'fcn_r18-d8_4xb2-80k_cityscapes-512x1024'
    assert results['dataset']['classes'][0] == 'road'
    for name in ('results.json', 'results.csv', 'report.md', 'report.html', 'per_image.npz'):
        assert (tmp_path / 'out' / name).is_file()
    (entry,) = results['gallery']
    assert cv2.imread(str(tmp_path / 'out' / entry['images']['prediction_corrupted'])) is not None


@pytest.fixture
def tiny_imagenet(tmp_path):
    """Nine pictures in three class folders, each of its class's colour."""
    rng = np.random.default_rng(0)
    for label, colour in enumerate(((200, 60, 60), (60, 200, 60), (60, 60, 200))):
        for index in range(3):
            image = np.clip(rng.normal(colour, 25, (48, 64, 3)), 0, 255).astype(np.uint8)
            path = tmp_path / 'images' / f'n{label}' / f'{index}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), image)
    return tmp_path / 'images'


def test_classification_config_of_mmpretrain(tiny_imagenet, tmp_path):
    def config():
        cfg = installed_config('mmpretrain', 'resnet/resnet18_8xb32_in1k.py')
        cfg.merge_from_dict(
            {
                'model.head.num_classes': 3,
                'model.head.topk': (1,),
                'test_evaluator.topk': (1,),
                'test_dataloader.dataset': dict(
                    _delete_=True,
                    type='CustomDataset',
                    data_root=str(tiny_imagenet),
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='ResizeEdge', scale=40, edge='short'),
                        dict(type='CenterCrop', crop_size=32),
                        dict(type='PackInputs'),
                    ],
                ),
                'test_dataloader.batch_size': 4,
                'test_dataloader.num_workers': 0,
                'test_dataloader.persistent_workers': False,
            }
        )
        cfg.work_dir = str(tmp_path / 'test')
        return cfg

    weights = save_weights(config(), tmp_path / 'weights.pth')
    expected = training.test(config(), weights)
    results = evaluate_robustness(
        config(),
        weights,
        tmp_path / 'out',
        benchmark='imagenet-c',
        corruptions=['noise', 'spatter'],
        severities=[5],
        save_images=2,
        calibration=True,
    )
    assert accuracy_of(results) == pytest.approx(metrics_of(results)['top1'], abs=1e-3)
    assert metrics_of(results) == {'top1': pytest.approx(expected['accuracy/top1'], abs=1e-4)}
    assert results['task'] == 'classification'
    assert results['summary']['mean']['interval'] is not None
    assert results['benchmark']['hold_outs'] == ['spatter']
    assert 'mCE' not in results['summary']  # not ImageNet
    assert list(results['cells'][0]['per_class']['Acc']) == ['n0', 'n1', 'n2']
    pictures = results['gallery'][0]['images']
    # The 32x32 crop is corrupted, not the picture it is cut from.
    assert cv2.imread(str(tmp_path / 'out' / pictures['corrupted'])).shape == (32, 32, 3)


@pytest.fixture
def tiny_coco(tmp_path):
    """Three pictures, each with one box, in COCO's layout."""
    root = tmp_path / 'coco'
    rng = np.random.default_rng(0)
    images, annotations = [], []
    (root / 'val2017').mkdir(parents=True)
    for index in range(3):
        image = rng.integers(0, 255, (64, 96, 3), dtype=np.uint8)
        cv2.imwrite(str(root / 'val2017' / f'{index:012d}.jpg'), image)
        images.append(dict(id=index, file_name=f'{index:012d}.jpg', width=96, height=64))
        box = [8 * index, 8, 40, 40]
        annotations.append(
            dict(id=index + 1, image_id=index, category_id=1, bbox=box, area=1600, iscrowd=0)
        )
    from mmdet.datasets import CocoDataset

    categories = [
        dict(id=i + 1, name=name) for i, name in enumerate(CocoDataset.METAINFO['classes'])
    ]
    (root / 'annotations').mkdir()
    content = dict(images=images, annotations=annotations, categories=categories)
    (root / 'annotations' / 'instances_val2017.json').write_text(json.dumps(content))
    return root


def test_detection_config_of_mmdet(request, tmp_path):
    pytest.importorskip('mmcv.ops')
    pytest.importorskip('mmdet')
    root = request.getfixturevalue('tiny_coco')

    def config():
        cfg = installed_config('mmdet', 'retinanet/retinanet_r18_fpn_1x_coco.py')
        cfg.merge_from_dict(
            {
                'model.backbone.init_cfg': None,
                'model.test_cfg.max_per_img': 20,
                'test_dataloader.dataset.data_root': f'{root}/',
                'test_dataloader.dataset.pipeline.1.scale': (96, 64),
                'test_dataloader.num_workers': 0,
                'test_dataloader.persistent_workers': False,
                'test_evaluator.ann_file': f'{root}/annotations/instances_val2017.json',
            }
        )
        cfg.work_dir = str(tmp_path / 'test')
        return cfg

    weights = save_weights(config(), tmp_path / 'weights.pth')
    expected = training.test(config(), weights)
    results = evaluate_robustness(
        config(), weights, tmp_path / 'out', corruptions=['fog'], severities=[1, 5], save_images=1
    )
    assert not failed_cells(results)
    assert results['benchmark']['name'] == 'coco-c-subset'
    assert results['metric']['name'] == 'bbox_mAP'
    clean = metrics_of(results)
    assert clean['bbox_mAP'] == pytest.approx(100 * expected['coco/bbox_mAP'], abs=1e-4)
    assert clean['bbox_mAP_l'] is None  # no large boxes
    assert results['summary']['mPC'] == results['summary']['mean']
    assert 'person' in results['cells'][0]['per_class']['bbox_mAP']
    assert set(results['gallery'][0]['images']) == {
        'clean',
        'corrupted',
        'prediction_clean',
        'prediction_corrupted',
        'ground_truth',
    }
    # One image of three: the boxes of the others are not counted as missed.
    part = evaluate_robustness(
        config(), weights, tmp_path / 'part', corruptions=['fog'], severities=[1], max_samples=1
    )
    assert part['dataset']['samples'] == 1
    assert not failed_cells(part)


def test_a_split_without_annotations_is_replaced():
    cfg = Config(
        dict(
            val_dataloader=dict(batch_size=1),
            val_evaluator=dict(type='CocoMetric'),
            test_dataloader=dict(batch_size=2),
            test_evaluator=dict(type='CocoMetric', format_only=True),
            test_cfg=dict(type='TestLoop'),
        )
    )
    (note,) = use_annotated_split(cfg)
    assert 'validation split' in note
    assert cfg.test_dataloader.batch_size == 1
    assert 'format_only' not in cfg.test_evaluator
    assert use_annotated_split(cfg) == []
    with pytest.raises(InputError, match='no val_dataloader'):
        use_annotated_split(Config(dict(test_dataloader=dict(batch_size=1))))


SERVER = dict(type='CocoMetric', ann_file='a.json', format_only=True, outfile_prefix='x')
TRUTH = dict(type='CocoMetric', ann_file='b.json')


@pytest.mark.parametrize(
    ('evaluator', 'replaced'),
    [
        (dict(metrics=[SERVER]), True),
        (dict(type='Evaluator', metrics=SERVER), True),
        ([SERVER], True),
        ([], True),
        (dict(metrics=[]), True),
        ([dict(type='DumpResults', out_file_path='a.pkl')], True),
        ([TRUTH, SERVER], False),
        (dict(metrics=[TRUTH]), False),
    ],
)
def test_a_split_without_annotations_in_any_evaluator(evaluator, replaced):
    split = dict(dataset=dict(type='CocoDataset'))
    cfg = Config(
        dict(
            test_dataloader=split,
            test_evaluator=evaluator,
            val_dataloader=dict(split),
            val_evaluator=dict(TRUTH),
        )
    )
    assert bool(use_annotated_split(cfg)) == replaced


def test_missing_checkpoint_is_one_line(stripe_config, tmp_path):
    with pytest.raises(InputError, match='no such'):
        evaluate_robustness(Config.fromfile(stripe_config), 'nowhere.pth', tmp_path / 'out')


@LOOPS.register_module(force=True)
class OwnLoop(BaseLoop):
    """Measures in its own way."""

    def __init__(self, runner, dataloader, evaluator):
        super().__init__(runner, dataloader)

    def run(self):
        return {}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(test_evaluator=dict(type='Acuracy')), r'^test_evaluator \(Acuracy\): .*not in'),
        (dict(test_evaluator=dict(a=dict(type='IoUMetric'))), r'^test_evaluator: .*type'),
        (dict(test_evaluator=[[dict(type='IoUMetric')]]), r"'list' object has no attribute"),
        (dict(test_cfg=dict(type='OwnLoop')), r'^test_cfg: OwnLoop has no evaluator'),
        (dict(test_dataloader=[{}, {}]), r'^test_dataloader is a list of 2: .* must be one'),
        (dict(runner_type='FlexibleRunner'), r'FlexibleRunner builds its model only when it runs'),
    ],
)
def test_what_a_sweep_cannot_use_is_one_line(
    stripe_config, stripe_checkpoint, tmp_path, options, message
):
    cfg = Config.fromfile(stripe_config, import_custom_modules=False)
    for name, value in options.items():
        cfg[name] = value
    with pytest.raises(InputError, match=message) as error:
        evaluate_robustness(cfg, str(stripe_checkpoint), tmp_path / 'out')
    assert '\n' not in str(error.value)
    assert 'train_dataloader' not in str(error.value)


def test_a_checkpoint_by_its_address(stripe_config, stripe_checkpoint, tmp_path, monkeypatch):
    pytest.importorskip('mmseg')
    handler = functools.partial(SimpleHTTPRequestHandler, directory=stripe_checkpoint.parent)
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}/{stripe_checkpoint.name}'
        results = evaluate_robustness(
            Config.fromfile(stripe_config),
            address,
            tmp_path / 'out',
            corruptions=['fog'],
            severities=[1],
        )
        server.shutdown()
    assert metrics_of(results)['mIoU'] > 90
    assert results['model']['checkpoint'] == address
    digest = hashlib.sha256(stripe_checkpoint.read_bytes()).hexdigest()
    assert results['model']['checkpoint_sha256'] == digest


def test_overwrite_removes_the_report_at_once(
    stripe_config, stripe_checkpoint, tmp_path, monkeypatch
):
    pytest.importorskip('mmseg')
    options = dict(corruptions=['fog'], severities=[1], overwrite=True)

    def evaluate():
        cfg = Config.fromfile(stripe_config)
        return evaluate_robustness(cfg, str(stripe_checkpoint), tmp_path / 'out', **options)

    evaluate()
    assert (tmp_path / 'out' / 'report.html').exists()

    def stopped(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(RobustnessSweep, 'run', stopped)
    with pytest.raises(KeyboardInterrupt):
        evaluate()
    assert not [p for p in (tmp_path / 'out').glob('**/*') if p.suffix in ('.html', '.md', '.csv')]
    assert not list((tmp_path / 'out' / 'figures').iterdir())


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(severities=[6]), 'severity'),
        (dict(corruptions=['gausian_noise']), "did you mean 'gaussian_noise'"),
        (dict(max_samples=0), 'max_samples must be at least 1'),
        (dict(corrupted_root='/nope'), '--corrupted-root /nope is not a folder'),
    ],
)
def test_wrong_options_are_said_before_anything_is_read(stripe_config, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        evaluate_robustness(
            Config.fromfile(stripe_config), 'nowhere.pth', tmp_path / 'out', **options
        )
    assert not (tmp_path / 'out').exists()


def test_ctrl_c_says_how_to_go_on(stripe_config, stripe_checkpoint, tmp_path, monkeypatch):
    pytest.importorskip('mmseg')
    end_cell = Progress.end_cell

    def stopped(self, cell, *args):
        end_cell(self, cell, *args)
        if cell == ('fog', 1):
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, 'end_cell', stopped)
    for overwrite, words in ((False, 'command continues'), (True, 'without --overwrite continues')):
        with pytest.raises(KeyboardInterrupt, match=f'2 of 3 cells are stored; the same .*{words}'):
            evaluate_robustness(
                Config.fromfile(stripe_config),
                str(stripe_checkpoint),
                tmp_path / 'out',
                corruptions=['fog'],
                severities=[1, 2],
                overwrite=overwrite,
            )


def test_the_log_counts_the_batches_of_all_cells(stripe_config, stripe_checkpoint, tmp_path):
    pytest.importorskip('mmseg')
    cfg = Config.fromfile(stripe_config)
    # mmengine names loggers by config and second: the one of the test before may be taken for this
    cfg.experiment_name = 'log of all cells'
    options = dict(corruptions=['fog'], severities=[1, 2], max_samples=2)
    evaluate_robustness(cfg, str(stripe_checkpoint), tmp_path / 'out', **options)
    (log,) = (tmp_path / 'out').glob('log/*/*.log')
    assert re.findall(r'\(test\) \[(\d+/\d+)\]', log.read_text()) == ['6/6']


def test_summary_text():
    missing = {'value': None, 'interval': None, 'complete': False, 'missing': ['fog/2']}
    results = {
        'benchmark': {'name': 'two'},
        'metric': {'name': 'mIoU'},
        'dataset': {'samples': 3},
        'cells': [
            {'corruption': 'snow', 'severity': 1, 'status': 'done', 'error': None},
            {'corruption': 'fog', 'severity': 2, 'status': 'failed', 'error': 'RuntimeError: no'},
        ],
        'summary': {
            'clean': 80.0,
            'corruptions': {
                'snow': {'mean': 40.0, 'missing': []},
                'fog': {'mean': None, 'missing': [2]},
            },
            'groups': {},
            'mean': missing,
            'retention': {**missing, 'value': 51.0, 'interval': [50.0, 52.0]},
        },
        'other_summaries': {'segm_mAP': {'clean': 30.0, 'mean': missing}},
    }
    text = summary_text(results)
    assert 'fog                     incomplete (1 cells missing)' in text
    assert 'retention                51.00 [50.00, 52.00]' in text
    assert 'segm_mAP                clean  30.00, mean incomplete (1 cells missing)' in text
    assert failed_cells(results) == ['fog/2: RuntimeError: no']


@pytest.mark.slow
def test_the_command_in_one_and_two_processes(tool, stripe_config, stripe_checkpoint, tmp_path):
    """Also: the exit status, the same command again, and a checkpoint that was changed."""
    pytest.importorskip('mmseg')

    def run(folder, processes=1):
        options = ['--corruptions', 'fog', '--severities', 1, 3, '--save-images', 1]
        return tool(
            stripe_config,
            stripe_checkpoint,
            *options,
            '--work-dir',
            tmp_path / folder,
            processes=processes,
        )

    status, output = run('one')
    assert status == 0, output
    assert output.splitlines()[-1] == f'report: {tmp_path / "one" / "report.html"}'
    status, output = run('two', processes=2)
    assert status == 0, output
    assert output.count('report: ') == 1
    one, two = (read_results(tmp_path / name) for name in ('one', 'two'))
    for results in (one, two):
        for cell in results['cells']:
            del cell['seconds']
        for name in ('created', 'environment'):
            del results[name]
    assert one == two

    state = {'colours': torch.zeros(19, 3), 'weight': torch.zeros(1)}
    torch.save({'state_dict': state, 'meta': {}}, stripe_checkpoint)
    status, output = run('one')
    assert status == 2
    assert 'error: ' in output.splitlines()[-1]
    assert 'another checkpoint' in output.splitlines()[-1]
    assert os.listdir(tmp_path / 'one' / 'cells')
