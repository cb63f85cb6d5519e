import copy

import pytest
from mmengine.config import Config
from small_models import COLUMN, STEM, segmenter, weights

from fan_mm.jobs import export as jobs_export


@pytest.fixture(scope='session')
def exported(tmp_path_factory):
    """A segmenter's ONNX file in which batch and size are free, its checkpoint, and the verification."""
    pytest.importorskip('onnxscript')
    folder = tmp_path_factory.mktemp('export')
    checkpoint = weights(segmenter(), folder / 'weights.pth')
    file = folder / 'model.onnx'
    found = jobs_export.export(segmenter(), checkpoint, file, (64, 96), free=('batch', 'size'))
    return file, checkpoint, found


@pytest.fixture(scope='session')
def toy(tmp_path_factory, repo_root):
    """Makes configs of a classifier of ten toy classes; its checkpoint."""
    from fan_mm.datasets.scenes import write_imagenet

    folder = tmp_path_factory.mktemp('toy')
    write_imagenet(folder / 'toy', (80, 80), 20, 20, jobs=1)

    def config():
        cfg = Config.fromfile(repo_root / 'configs' / 'fan_hybrid_toy_imagenet.py')
        cfg.model.backbone.arch = COLUMN | STEM
        cfg.model.head.in_channels = 16
        for loader in (cfg.train_dataloader, cfg.test_dataloader):
            loader.dataset.data_root = str(folder / 'toy')
        cfg.work_dir = str(folder / 'work')
        return cfg

    return config, weights(config(), folder / 'w.pth')


@pytest.fixture(scope='session')
def graphs():
    return {}


@pytest.fixture
def traced_once(monkeypatch, graphs):
    """The toy's graph in float32, which PyTorch takes seconds for, is the same in every test."""
    trace = jobs_export.export_onnx

    def again(network, *arguments, **options):
        key = repr((arguments, options))
        if key not in graphs:
            graphs[key] = trace(network, *arguments, **options)
        return copy.deepcopy(graphs[key])

    monkeypatch.setattr(jobs_export, 'export_onnx', again)
