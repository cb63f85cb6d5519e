"""Every command of the analysis, on toy street scenes and a small network, as a user calls it."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from fan_mm.datasets.scenes import write_cityscapes
from fan_mm.errors import InputError
from fan_mm.report.panels import side_by_side

pytest.importorskip('mmseg')
ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools'


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp('scenes')
    write_cityscapes(root, (64, 128), train=1, val=3, jobs=1)
    return root


@pytest.fixture
def model(tiny_config, tmp_path, scenes):
    """A config and a checkpoint of a small FAN-Hybrid, with the toy scenes as its data."""
    text = tiny_config.read_text()
    tiny_config.write_text(text.replace(str(tmp_path / 'cityscapes'), str(scenes)))
    cfg = Config.fromfile(tiny_config)
    with DefaultScope.overwrite_default_scope('mmseg'):
        torch.manual_seed(0)
        network = revert_sync_batchnorm(MODELS.build(cfg.model))
        network.init_weights()
    for name, parameter in network.named_parameters():  # that tell classes apart, if at random
        if parameter.ndim > 1 and not name.endswith('temperature'):
            torch.nn.init.normal_(parameter, std=0.15)
    for name in ('weights.pth', 'others.pth'):
        torch.save(dict(state_dict=network.state_dict()), tmp_path / name)
    return str(tiny_config), str(tmp_path / 'weights.pth')


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a tool's main with arguments; returns what it printed."""

    def run(name, *arguments):
        spec = importlib.util.spec_from_file_location(name, TOOLS / f'{name}.py')
        tool = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(tool)
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        tool.main()
        return capsys.readouterr().out

    return run


def colours(panel):
    return len(np.unique(panel.reshape(-1, 3), axis=0))


def test_visualize_clusters(call, model, scenes, tmp_path):
    image = sorted(scenes.glob('leftImg8bit/val/*/*.png'))[0]
    printed = call(
        'visualize_clusters', image, *model, '--blocks', '0', 'blocks.0', '-1', '--size', '224x448',
        '--corruption', 'snow', '--out', tmp_path / 'out',
    )  # fmt: skip
    assert printed.count('(sparse eigensolver (Lanczos), scikit-learn KMeans)') == 6
    (file,) = (tmp_path / 'out').glob('*.png')
    picture = cv2.imread(str(file))
    rows, columns = 4, 2
    height = picture.shape[0] // rows
    assert picture.shape[:2] == (rows * height, columns * 448 + 6)
    record = json.loads(file.with_suffix('.json').read_text())
    assert len(record) == 6
    for i, entry in enumerate(record):
        assert entry['condition'] == ('clean' if i < 3 else 'Snow 3')
        assert np.shape(entry['labels']) == tuple(entry['grid'])
        assert entry['clusters'] == len(np.unique(entry['labels'])) > 1
        assert entry['eigenvalues'][0] == pytest.approx(1)
    for row in range(rows):
        for column in range(columns):
            panel = picture[row * height : (row + 1) * height, column * 454 :][:, :448]
            title, content = panel[: height - 224], panel[height - 224 :]
            assert colours(content) > 50
            assert title.min() < 100
            assert title[:, -3:].min() == 255  # the label ends inside


def test_a_number_of_clusters(call, model, scenes, tmp_path):
    call(
        'visualize_clusters', scenes / 'leftImg8bit/val', *model, '--clusters', '4',
        '--size', '256', '--out', tmp_path / 'out',
    )  # fmt: skip
    records = [json.loads(f.read_text()) for f in (tmp_path / 'out').glob('*.json')]
    assert [[entry['clusters'] for entry in record] for record in records] == [[4]] * 3
    assert {entry['block'] for record in records for entry in record} == {'blocks.0'}  # of two
    with pytest.raises(SystemExit) as stopped:
        call('visualize_clusters', scenes, *model, '--clusters', '1', '--out', tmp_path)
    assert stopped.value.code == 2


def test_analyze_noise_decay(call, model, scenes, tmp_path):
    second = model[0], model[1].replace('weights', 'others')
    call(
        'analyze_noise_decay', *model, *second, '--images', scenes / 'leftImg8bit/val',
        '--count', '2', '--size', '64x128', '--out', tmp_path / 'out',
    )  # fmt: skip
    with open(tmp_path / 'out' / 'noise_decay.csv') as lines:
        rows = list(csv.DictReader(lines))
    blocks = 4  # two of the stem, two of FAN
    assert len(rows) == 2 * 2 * (blocks + 1)
    assert len({row['image'] for row in rows}) == 2
    assert {row['model'] for row in rows} == {'tiny (weights)', 'tiny (others)'}
    for row in rows:
        assert 0 < float(row['perturbation']) < 10
        if row['block'] != 'input':
            assert 0 <= int(row['insignificant']) < int(row['tokens'])
    picture = cv2.imread(str(tmp_path / 'out' / 'noise_decay.png'))
    assert min(picture[:, :2].min(), picture[:, -2:].min(), picture[-2:].min()) > 240
    assert colours(picture) > 20
    assert (tmp_path / 'out' / 'noise_decay.pdf').read_bytes().startswith(b'%PDF')
    for wrong, message in (
        (model[:1], 'pairs of CONFIG CHECKPOINT'),
        (model * 2, 'is given twice'),
    ):
        with pytest.raises(InputError, match=message):
            call('analyze_noise_decay', *wrong, '--images', scenes, '--out', tmp_path)


def test_visualize_gates(call, model, scenes, tmp_path):
    call(
        'visualize_gates', scenes / 'leftImg8bit/val', *model, '--size', '64x128',
        '--corruption', 'fog', '--out', tmp_path / 'out',
    )  # fmt: skip
    with open(tmp_path / 'out' / 'gates.csv') as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 2 * 3 * 2 * 24  # conditions, images, blocks, channels
    gates = np.array([float(row['gate']) for row in rows])
    assert 0.5 < gates.min() < gates.max() < 0.7311
    picture = cv2.imread(str(tmp_path / 'out' / 'gates.png'))
    assert colours(picture) > 20


@pytest.mark.parametrize('frames', [False, True], ids=['test split', 'frames'])
def test_visualize_segmentation(call, model, scenes, tmp_path, frames):
    images = ['--images', scenes / 'leftImg8bit/val', '--video', tmp_path / 'clip.gif']
    second = model[0], model[1].replace('weights', 'others')
    call(
        'visualize_segmentation', *model, *second, '--corruption', 'impulse_noise',
        '--severity', '3', '--count', '3', '--out', tmp_path / 'out', *(images if frames else []),
    )  # fmt: skip
    files = sorted((tmp_path / 'out').glob('*.png'))
    assert len(files) == 3
    picture = cv2.imread(str(files[0]))
    panel, head = 256, picture.shape[0]  # 64x128 pixels, enlarged four times
    assert picture.shape[1] == 3 * 2 * panel + 12
    assert head > 3 * panel
    title = side_by_side([np.zeros((panel, 2 * panel, 3), np.uint8)], ['']).shape[0] - panel
    for row in range(3):
        top = row * (panel + title) + title
        for column in range(3):
            content = picture[top : top + panel, column * (2 * panel + 6) :][:, : 2 * panel]
            label = picture[top - title : top, column * (2 * panel + 6) :][:, : 2 * panel]
            assert label[:, -3:].min() == 255  # it ends inside
            if frames and row == 0 and column == 2:
                assert colours(content) == 1  # no ground truth to show
            else:
                assert colours(content) > 5
    legend = picture[3 * (panel + title) :]
    assert (legend == (40, 30, 205)).all(-1).any()  # the colour of errors, BGR
    if frames:
        assert (tmp_path / 'clip.gif').stat().st_size > 1000


def test_no_picture_replaces_another(call, model, tmp_path):
    """Frames of two cameras, whose folders and files have the same names."""
    cameras = tmp_path / 'cameras'
    for i, site in enumerate('ab'):
        file = cameras / site / 'frames' / '0.png'
        file.parent.mkdir(parents=True)
        cv2.imwrite(str(file), np.full((64, 128, 3), 90 * i, np.uint8))
    sites, out = (cameras / 'a', cameras / 'b'), cameras / 'out'
    size = '--size', '64x128', '--out', out
    call('visualize_clusters', *sites, *model, '--clusters', '2', *size)
    assert len(list(out.glob('*.png'))) == 2
    call('visualize_gates', *sites, *model, *size)
    with open(out / 'gates.csv') as lines:
        assert {row['image'] for row in csv.DictReader(lines)} == {'frames/0', 'frames/0_2'}
    images = '--images', cameras, '--out', out  # what already exists is no input
    call('visualize_segmentation', *model, *images, '--video', tmp_path / 'clip.gif')
    assert Image.open(tmp_path / 'clip.gif').n_frames == 2


def test_model_complexity(call, model, tmp_path, monkeypatch):
    monkeypatch.setenv('COLUMNS', '120')
    printed = call('model_complexity', model[0], '--size', '64x128', '--depth', '1')
    assert 'backbone' in printed
    assert 'decode_head' in printed
    assert '100.0' in printed
    monkeypatch.setattr('fan_mm.analysis.complexity_table.models', lambda: iter(()))
    call('model_complexity', '--table', tmp_path / 'table.md')
    assert '| backbone | arch |' in (tmp_path / 'table.md').read_text()
    with pytest.raises(InputError, match='either a CONFIG or --table'):
        call('model_complexity')
