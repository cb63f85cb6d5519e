"""The row of ImageNet-C: a sweep over its folders, whose labels must be the dataset's."""

import functools
import json
import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from ood_sets import ROOT
from PIL import Image

pytest.importorskip('mmpretrain')

from protocol_names import unnamed

from fan_mm.errors import InputError
from fan_mm.evaluation import RobustnessSweep
from fan_mm.evaluation.metrics import ALEXNET_ERRORS
from fan_mm.evaluation.premade import PremadeImages
from fan_mm.jobs import ood
from fan_mm.jobs.ood import FILE, evaluate_ood, missing_values, table_row

ARCH = dict(embed_dims=24, depth=1, num_heads=2, stem_depths=(1, 1), stem_channels=(8, 16))


class Toy:
    """Ten classes, and an ImageNet-C whose pictures are the clean ones at the crop's size."""

    def __init__(self, folder):
        from fan_mm.datasets.scenes import write_imagenet

        self.folder = folder
        self.checkpoint = str(folder / 'weights.pth')
        write_imagenet(folder / 'toy', (80, 80), 10, 10, jobs=1)
        cfg = self.config()
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
        torch.manual_seed(0)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        torch.save(dict(state_dict=model.state_dict(), meta={}), self.checkpoint)
        small = folder / 'cropped'
        for path in (folder / 'toy/val').rglob('*.jpg'):
            image = Image.open(path).resize((64, 64), Image.BICUBIC)  # what the test pipeline does
            target = small / path.relative_to(folder / 'toy/val').with_suffix('.png')
            target.parent.mkdir(parents=True, exist_ok=True)
            image.save(target)
        for name in ALEXNET_ERRORS:
            (folder / 'c' / name).mkdir(parents=True)
            for severity in '12345':
                (folder / 'c' / name / severity).symlink_to(small)

    def config(self):
        cfg = Config.fromfile(ROOT / 'configs/fan_hybrid_toy_imagenet.py')
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
            loader.num_workers = 0
            loader.persistent_workers = False
            loader.dataset.data_root = str(self.folder / 'toy')
        cfg.model.backbone.arch = dict(ARCH)
        cfg.model.head.in_channels = 24
        return cfg

    def evaluate(self, work_dir, **options):
        folders = dict(imagenet_c=str(self.folder / 'c'))
        return evaluate_ood(self.config(), self.checkpoint, folders, work_dir, **options)


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    return Toy(tmp_path_factory.mktemp('toy'))


def test_imagenet_c_reads_folders_and_crops_nothing_twice(toy, tmp_path):
    """Copies of the clean pictures at the crop's size are classified as the clean ones are."""
    results = toy.evaluate(tmp_path)
    rows = results['test_sets']
    assert rows['imagenet_c']['clean'] == rows['imagenet_c']['mean'] == rows['clean']['top1']
    assert rows['imagenet_c']['retention'] == 100 and 'mCE' not in rows['imagenet_c']  # ten classes
    assert '| undefined | ' in table_row(results)
    # all folders are one, and the model guesses
    assert 'imagenet_c: audit, bytes of the copies: the files of ' in table_row(results)
    assert (tmp_path / 'imagenet_c/report.html').exists()
    assert (rows['clean']['protocol'], rows['imagenet_c']['protocol']) == ('ImageNet', 'imagenet-c')
    assert unnamed(tmp_path, 'imagenet-c', 'ImageNet-C')[0] == []
    assert missing_values(results) == []


@pytest.fixture
def two_cells(monkeypatch):
    """Of the 75 of ImageNet-C."""
    few = functools.partial(RobustnessSweep, corruptions=['fog', 'contrast'], severities=[3])
    monkeypatch.setattr(ood, 'RobustnessSweep', few)


def test_cells_of_another_input_size_are_not_taken_over(toy, tmp_path, two_cells):
    toy.evaluate(tmp_path, clean=False)
    toy.evaluate(tmp_path, clean=False)  # goes on
    with pytest.raises(InputError, match=r'holds a sweep with another config .* --overwrite'):
        toy.evaluate(tmp_path, clean=False, sizes=dict(imagenet_c=96))
    again = toy.evaluate(tmp_path, clean=False, sizes=dict(imagenet_c=96), overwrite=True)
    fresh = toy.evaluate(tmp_path / 'fresh', clean=False, sizes=dict(imagenet_c=96))
    assert again['test_sets'] == fresh['test_sets']
    assert again['test_sets']['imagenet_c']['size'] == 96


def test_a_missing_file_of_imagenet_c_is_said_before_anything_is_evaluated(
    toy, tmp_path, monkeypatch
):
    monkeypatch.setattr(ood, '_accuracy', lambda *_: pytest.fail('evaluated'))
    folder = toy.folder / 'c/fog/3'
    target = folder.readlink()
    folder.unlink()
    try:
        with pytest.raises(InputError, match='images of fog/3'):
            toy.evaluate(tmp_path)
    finally:
        folder.symlink_to(target)


def test_what_is_done_is_kept_when_the_sweep_is_stopped(toy, tmp_path, monkeypatch):
    def stop(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ood.RobustnessSweep, 'run', stop)
        with pytest.raises(KeyboardInterrupt):
            toy.evaluate(tmp_path)
    kept = json.loads((tmp_path / FILE).read_text())['test_sets']
    assert list(kept) == ['clean'] and kept['clean']['samples'] == 10


def test_an_incomplete_sweep_says_what_is_missing_and_goes_on_when_mended(toy, tmp_path, two_cells):
    cell = toy.folder / 'c/fog/3'
    whole = cell.readlink()
    cell.unlink()
    shutil.copytree(whole, cell)
    damaged = sorted(cell.rglob('*.png'))[4]
    content = damaged.read_bytes()
    try:
        damaged.write_bytes(content[:50])
        results = toy.evaluate(tmp_path, clean=False)
        row = results['test_sets']['imagenet_c']
        assert (row['mean'], row['retention'], row['samples']) == (None, None, 10)
        assert row['clean'] is not None
        assert missing_values(results) == ['imagenet_c: mean', 'imagenet_c: retention']
        assert '| incomplete |' in table_row(results)
        damaged.write_bytes(content)
        assert missing_values(toy.evaluate(tmp_path, clean=False)) == []
    finally:
        shutil.rmtree(cell)
        cell.symlink_to(whole)


def test_labels_in_another_order_than_the_class_folders(toy, tmp_path):
    """A flat clean folder with a list of labels, beside ImageNet-C's class folders."""
    flat, copies = tmp_path / 'data', tmp_path / 'c'
    names = sorted(path.name for path in (toy.folder / 'toy/val').iterdir())
    lines = []
    for index, name in enumerate(names):
        for path in (toy.folder / 'toy/val' / name).iterdir():
            (flat / 'val').mkdir(parents=True, exist_ok=True)
            shutil.copy(path, flat / 'val' / f'{name}_{path.name}')
            lines.append((f'{name}_{path.name}', index))
            for corruption in ALEXNET_ERRORS:
                for severity in '12345':
                    copy = copies / corruption / severity / f'n{index:08d}' / f'{name}_{path.name}'
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    copy.symlink_to(path)

    def evaluate(label, work_dir):
        (flat / 'meta').mkdir(exist_ok=True)
        text = ''.join(f'{name} {label(index)}\n' for name, index in lines)
        (flat / 'meta/val.txt').write_text(text)
        cfg = toy.config()
        cfg.test_dataloader.dataset.update(data_root=str(flat), split='val')
        folders = dict(imagenet_c=str(copies))
        return evaluate_ood(cfg, toy.checkpoint, folders, work_dir, clean=False)

    with pytest.raises(InputError, match='another class order than the WordNet'):
        evaluate(lambda index: (index + 3) % 10, tmp_path / 'shifted')


def test_labels_that_fit_and_do_not_fit_class_folders(tmp_path):
    def check(folders, labels):
        names = [f'{i}' for i in range(len(folders))]
        images = PremadeImages(
            tmp_path,
            '{corruption}/{severity}',
            1,
            class_folders=dict(zip(names, folders, strict=True)),
        )
        images.check_labels([f'val/{name}.jpg' for name in names], labels)

    check(['n00000001', 'n00000001', 'n00000002'], [4, 4, 9])
    check(['n00000001', 'n00000002', 'n00000003'], [1, 0, 1])  # coarser classes
    check(['cat', 'dog'], [1, 0])  # no WordNet ids
    check(['n00000001', 'n00000002'], [None, None])
    with pytest.raises(InputError, match='the list of labels belongs to other images'):
        check(['n00000001', 'n00000001'], [4, 5])
    with pytest.raises(
        InputError, match=r'n00000001 has label 4 and n00000002 3: .* another class order'
    ):
        check(['n00000002', 'n00000001'], [3, 4])


@pytest.mark.slow
def test_an_exported_file_has_a_row_like_its_checkpoint(toy, tmp_path, two_cells):
    """Rows within 0.05 of PyTorch's; its weights are those that were exported."""
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    from fan_mm.jobs.export import export

    file = str(tmp_path / 'model.onnx')
    export(toy.config(), toy.checkpoint, file, (64, 64), free=('batch',))
    expected = toy.evaluate(tmp_path / 'torch')['test_sets']
    folders = dict(imagenet_c=str(toy.folder / 'c'))
    results = evaluate_ood(toy.config(), file, folders, tmp_path / 'onnx')
    assert results['test_sets'].keys() == expected.keys() == {'clean', 'imagenet_c'}
    for name, row in results['test_sets'].items():
        ours, theirs = dict(row), dict(expected[name])
        assert (ours.pop('weights'), theirs.pop('weights')) == ('exported', 'model')
        assert ours.pop('audit', None) == theirs.pop('audit', None)
        assert ours == pytest.approx(theirs, abs=0.05)
    assert 'clean: 64 pixels, exported weights' in table_row(results)
    with pytest.raises(InputError, match=r'--weights: .* contains only the exported weights'):
        evaluate_ood(toy.config(), file, folders, tmp_path / 'x', weights=dict(clean='ema'))
    with pytest.raises(InputError, match='the ONNX file takes'):
        evaluate_ood(toy.config(), file, {}, tmp_path / 'y', sizes=dict(clean=96))
    with open(file, 'ab') as other:  # an entry of metadata, as protobuf appends it
        other.write(b'\x72\x06\x0a\x01a\x12\x01b')
    with pytest.raises(InputError, match='holds a sweep with another checkpoint'):
        evaluate_ood(toy.config(), file, folders, tmp_path / 'onnx')
