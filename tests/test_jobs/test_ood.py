"""A row of Table 11: the right classes for every folder, the right size and weights for every set."""

import functools
import json
import runpy
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import warm_python
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

pytest.importorskip('mmpretrain')

from libraries import needs_classes_as_types
from mmpretrain.models import BaseClassifier, LinearClsHead
from mmpretrain.registry import MODELS as PRETRAIN_MODELS
from mmpretrain.registry import TRANSFORMS
from protocol_names import unnamed

from fan_mm.errors import InputError
from fan_mm.evaluation import RobustnessSweep
from fan_mm.evaluation.class_names import wordnet_ids
from fan_mm.evaluation.imagenet_subsets import FOLDER_SETS
from fan_mm.evaluation.metrics import ALEXNET_ERRORS
from fan_mm.evaluation.premade import PremadeImages
from fan_mm.jobs import ood
from fan_mm.jobs.input_size import resize
from fan_mm.jobs.ood import FILE, evaluate_ood, missing_values, table_row
from fan_mm.models.conversion import classifier_state

ROOT = Path(__file__).resolve().parents[2]
ARCH = dict(embed_dims=24, depth=1, num_heads=2, stem_depths=(1, 1), stem_channels=(8, 16))
CONFIG = """
_base_ = '{base}'
arch = dict(
    _delete_=True, embed_dims=24, depth=1, num_heads=2, stem_depths=(1, 1), stem_channels=(8, 16)
)
data_preprocessor = dict(num_classes=1000)
model = dict(backbone=dict(arch=arch), head=dict(num_classes=1000, in_channels=24))
train_dataloader = dict(dataset=dict(data_root='{data}', metainfo=None))
val_dataloader = dict(batch_size=64, dataset=dict(data_root='{data}', metainfo=None))
test_dataloader = val_dataloader
"""
A = FOLDER_SETS['imagenet_a'].indices()
R = FOLDER_SETS['imagenet_r'].indices()


def pictures(root, folders, size=32):
    """One small random picture per class folder."""
    rng = np.random.default_rng(0)
    for name in folders:
        path = root / name / f'{name}_0.png'
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (size, size, 3), dtype=np.uint8))
    return root


def wordnet(indices):
    return [wordnet_ids()[index] for index in indices]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """ImageNet, -A, -R and -V2 in miniature."""
    root = tmp_path_factory.mktemp('data')
    pictures(root / 'imagenet/val', wordnet(range(1000)))
    pictures(root / 'a', wordnet(A))
    pictures(root / 'r', wordnet(R))
    pictures(root / 'v2', map(str, range(1000)))
    return root


@pytest.fixture(scope='module')
def config(data, tmp_path_factory):
    path = tmp_path_factory.mktemp('config') / 'small.py'
    base = ROOT / 'configs/fan_hybrid_toy_imagenet.py'
    path.write_text(CONFIG.format(base=base, data=data / 'imagenet'))
    return path


def model_of(config):
    cfg = Config.fromfile(config)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))


@pytest.fixture(scope='module')
def checkpoint(config, tmp_path_factory):
    """As a training with EMAHook leaves it: the average in state_dict."""
    path = tmp_path_factory.mktemp('weights') / 'epoch_1.pth'
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = model_of(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        states.append(model.state_dict())
    plain = {f'module.{key}': value for key, value in states[1].items()}
    plain['steps'] = torch.tensor(7)
    torch.save(dict(state_dict=states[0], ema_state_dict=plain, meta=dict(epoch=1)), path)
    return path


def expected(config, checkpoint, folder, classes, weights, size):
    """Top-1 in per cent, and NLL of the set's classes, worked out by hand."""
    model = model_of(config).eval()
    state, used = classifier_state(torch.load(checkpoint, weights_only=True), weights)
    assert used == weights
    model.load_state_dict(state)
    images = []
    for name in sorted(path.name for path in folder.iterdir()):
        image = Image.fromarray(cv2.imread(str(folder / name / f'{name}_0.png')))
        images.append(np.array(image.resize((size, size), Image.BICUBIC)))
    inputs = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = model(model.data_preprocessor(dict(inputs=inputs), False)['inputs'])
    best = [max(classes, key=row.__getitem__) for row in logits.tolist()]
    nll = -logits[:, classes].log_softmax(1).diagonal().mean()
    return 100 * float(np.mean(np.equal(best, classes))), float(nll)


def test_rows_are_those_worked_out_by_hand(config, checkpoint, data, tmp_path):
    results = evaluate_ood(
        Config.fromfile(config),
        str(checkpoint),
        dict(imagenet_a=str(data / 'a'), imagenet_r=str(data / 'r')),
        tmp_path,
        sizes=dict(imagenet_a=48),
        weights=dict(clean='ema'),
        calibration=True,
    )
    rows = results['test_sets']
    assert list(rows) == ['clean', 'imagenet_a', 'imagenet_r']
    assert [row['protocol'] for row in rows.values()][1:] == ['ImageNet-A', 'ImageNet-R']
    found = {name: (row['size'], row['weights'], row['samples']) for name, row in rows.items()}
    assert found == dict(
        clean=(64, 'ema', 1000), imagenet_a=(48, 'model', 200), imagenet_r=(64, 'ema', 200)
    )
    for name, folder, classes in (('imagenet_a', 'a', A), ('imagenet_r', 'r', R)):
        row = rows[name]
        top1, nll = expected(
            *(config, checkpoint, data / folder, classes, row['weights'], row['size'])
        )
        assert row['top1'] == pytest.approx(top1)
        # which tells apart what one right answer of 200 does not
        assert row['calibration']['plain']['NLL']['value'] == pytest.approx(nll, rel=1e-4)
        assert row['top5'] > row['top1']
        bins = row['calibration']['plain']['bins']
        right = sum(n * a for n, a in zip(bins['count'], bins['accuracy'], strict=True) if n)
        assert right / 100 == pytest.approx(row['top1'] / 100 * sum(bins['count']))
        assert f'{name}: ECE {row["calibration"]["plain"]["ECE"]["value"]:.2f}' in table_row(
            results
        )
    assert json.loads((tmp_path / FILE).read_text()) == results
    assert '| small | ' in table_row(results) and '48 pixels, model weights' in table_row(results)


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


def test_an_incomplete_sweep_says_what_is_missing_and_goes_on_when_mended(toy, tmp_path):
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


def test_two_processes_count_every_picture_once(monkeypatch):
    """Each has its part before the sum is taken over both, in the batches that one process has."""
    seen = []

    class Model(torch.nn.Module):
        def test_step(self, batch):
            seen.append([id(picture) for picture in batch])
            return batch

    scores = torch.rand(11, 7, generator=torch.Generator().manual_seed(0))
    pictures = [
        SimpleNamespace(pred_score=row, gt_label=torch.tensor([i % 7]))
        for i, row in enumerate(scores)
    ]
    loader = torch.utils.data.DataLoader(pictures, batch_size=3, collate_fn=list)
    alone = ood._accuracy('clean', Model(), loader, None, None)
    parts, batches = [], sorted(seen)
    seen.clear()
    monkeypatch.setattr(ood, 'all_reduce', lambda counts: parts.append(counts.clone()))
    for rank in (0, 1):
        monkeypatch.setattr(ood, 'get_dist_info', lambda rank=rank: (rank, 2))
        ood._accuracy('clean', Model(), loader, None, None)
    assert all(part[1] > 0 for part in parts)
    assert sorted(seen) == batches
    top1, top5 = (100 * count / 11 for count in sum(parts).tolist())
    assert alone == dict(top1=top1, top5=top5, samples=11)


@pytest.mark.slow
def test_the_tool(config, checkpoint, data, tmp_path):
    command = [
        warm_python.python(),
        'tools/test_ood.py',
        str(config),
        str(checkpoint),
        '--no-clean',
    ]
    command += ['--imagenet-v2', str(data / 'v2'), '--work-dir', str(tmp_path / 'work')]
    done = subprocess.run(
        [*command, '--weights', 'imagenet-v2=ema'], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    row = json.loads((tmp_path / 'work' / FILE).read_text())['test_sets']['imagenet_v2']
    classes = FOLDER_SETS['imagenet_v2'].classes(sorted(map(str, range(1000))))
    value, _ = expected(config, checkpoint, data / 'v2', classes, 'ema', 64)
    assert row['top1'] == pytest.approx(value)
    assert 'ImageNet-V2' in done.stdout and 'ema weights, 1000 images' in done.stdout
    done = subprocess.run([*command, '--size', 'a'], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith('error: a: write NAME')


def test_the_tools_status_says_what_is_missing(config, tmp_path, monkeypatch, capsys):
    row = dict(size=None, weights='ema', mean=None, mCE=50.0, clean=60.0, samples=10)
    given = []

    def evaluate(*arguments):
        given.extend(arguments)
        return dict(model=dict(name='small'), test_sets=dict(imagenet_c=row))

    monkeypatch.setattr(ood, 'evaluate_ood', evaluate)
    command = ['test_ood.py', str(config), 'w.pth', '--imagenet-c', 'c', '--overwrite']
    monkeypatch.setattr('sys.argv', [*command, '--work-dir', str(tmp_path)])
    for status, mean in ((1, None), (0, 40.0)):
        row['mean'] = mean
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / 'tools/test_ood.py'), run_name='__main__')
        assert ended.value.code == status
        assert ('no result: imagenet_c: mean' in capsys.readouterr().out) == bool(status)
    assert given[8] is True


def test_weights_of_every_kind_of_file(config, checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    average, plain = (classifier_state(content, kind)[0] for kind in ('ema', 'model'))
    assert not torch.equal(average['head.fc.weight'], plain['head.fc.weight'])
    assert set(average) == set(plain)
    only = dict(state_dict=plain)
    assert classifier_state(only, 'ema')[1] == 'model'
    assert classifier_state(dict(state_dict=plain, state_dict_ema=average), 'ema')[1] == 'ema'
    assert classifier_state(dict(state_dict_ema=average), 'model')[1] == 'ema'
    assert classifier_state(dict(ema_state_dict=average), 'ema')[1] == 'ema'
    for nothing in (5, [average], dict(ema_state_dict={})):
        with pytest.raises(InputError):
            classifier_state(nothing, 'ema')


@pytest.mark.parametrize(
    'names, message',
    [
        (
            wordnet(A[1:]),
            'not ImageNet-A: it has 200 class folders named by WordNet id, but there are 199',
        ),
        (['cat', *wordnet(A[1:])], "such as 'cat'"),
        (wordnet(R), 'here are 200 folders of ImageNet-R'),
    ],
)
def test_other_folders_are_refused(config, checkpoint, tmp_path, names, message):
    pictures(tmp_path / 'a', names)
    with pytest.raises(InputError, match=message):
        evaluate_ood(
            Config.fromfile(config),
            str(checkpoint),
            dict(imagenet_a=str(tmp_path / 'a')),
            tmp_path / 'work',
            clean=False,
        )


def test_a_pipeline_that_cannot_be_resized_keeps_its_size(config, checkpoint, data, tmp_path):
    """ImageNet-A is read at 384 pixels unless it is told otherwise."""
    folders = dict(imagenet_a=str(data / 'a'))
    for sizes in (None, dict(imagenet_a=64)):
        cfg = Config.fromfile(config)
        crop = dict(type='EfficientNetCenterCrop', crop_size=64, crop_padding=0)
        cfg.test_dataloader.dataset.pipeline[1:-1] = [crop]
        arguments = cfg, str(checkpoint), folders, tmp_path
        if sizes is None:
            with pytest.raises(InputError, match='--size SET=64 keeps the original size'):
                evaluate_ood(*arguments, clean=False)
        else:
            row = evaluate_ood(*arguments, sizes=sizes, clean=False)['test_sets']['imagenet_a']
            assert (row['size'], row['samples']) == (64, 200)


# --- classifiers that are no `backbone.` plus one linear head


@PRETRAIN_MODELS.register_module(force=True)
class Wrapped(BaseClassifier):
    """A network of another library, as mmpretrain's TimmClassifier and HuggingFaceClassifier wrap it."""

    outputs = 1000

    def __init__(self, data_preprocessor=None, **_):
        super().__init__(data_preprocessor=data_preprocessor)
        parts = torch.nn.Conv2d(3, 8, 8, 8), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        self.net = torch.nn.Sequential(*parts, torch.nn.Linear(8, self.outputs))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        scores = self.net(inputs)
        for sample, score in zip(data_samples, scores.softmax(1), strict=True):
            self.set(sample, score)
        return data_samples

    def set(self, sample, score):
        sample.set_pred_score(score).set_pred_label(score.argmax())

    def extract_feat(self, inputs):
        raise NotImplementedError

    def loss(self, inputs, data_samples):
        raise NotImplementedError


@PRETRAIN_MODELS.register_module(force=True)
class Tens(Wrapped):
    outputs = 10


@PRETRAIN_MODELS.register_module(force=True)
class Unsure(Wrapped):
    def set(self, sample, score):
        sample.set_pred_label(score.argmax())


@PRETRAIN_MODELS.register_module(force=True)
class Failing(Wrapped):
    def forward(self, inputs, data_samples=None, mode='tensor'):
        raise RuntimeError('the kernel is larger than the input\nand more')


@PRETRAIN_MODELS.register_module(force=True)
class TwoScoresHead(LinearClsHead):
    """Two score tensors, as mmpretrain's ConformerHead."""

    def forward(self, feats):
        scores = super().forward(feats)
        return scores, scores

    def predict(self, feats, data_samples=None):
        return self._get_predictions(sum(self(feats)), data_samples)


def two_scores(cfg):
    cfg.model.head.type = 'TwoScoresHead'


def as_class(cfg):
    cfg.model = dict(type=Wrapped)


def scoped(cfg):
    cfg.model = dict(type='mmpretrain.Wrapped')


def wrapped_dataset(cfg):
    cfg.test_dataloader.dataset = dict(
        type='RepeatDataset', times=1, dataset=cfg.test_dataloader.dataset
    )


def classes_for_types(cfg):
    for step in cfg.test_dataloader.dataset.pipeline:
        name = step['type']
        step['type'] = f'mmpretrain.{name}' if name == 'ResizeEdge' else TRANSFORMS.get(name)


def torchvision_pipeline(cfg):
    cfg.test_dataloader.dataset.pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='NumpyToPIL', to_rgb=True),
        dict(type='torchvision/Resize', size=72),
        dict(type='torchvision/CenterCrop', size=64),
        dict(type='PILToNumpy', to_bgr=True),
        dict(type='PackInputs'),
    ]


def no_crop(cfg):
    cfg.test_dataloader.dataset.pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(64, 64)),
        dict(type='PackInputs'),
    ]


def attempt_ood(config, data, tmp_path, change, folders=('r',), **options):
    cfg = Config.fromfile(config)
    change(cfg)
    preprocessor = dict(cfg.data_preprocessor, type='ClsDataPreprocessor')
    cfg.data_preprocessor = preprocessor
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(cfg.model, data_preprocessor=preprocessor))
    path = tmp_path / 'model.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    sets = {f'imagenet_{name}': str(data / name) for name in folders}
    return evaluate_ood(cfg, str(path), sets, tmp_path / 'ood', clean=False, **options)


@pytest.mark.parametrize(
    'change',
    [
        two_scores,
        pytest.param(as_class, marks=needs_classes_as_types),
        scoped,
        wrapped_dataset,
        pytest.param(classes_for_types, marks=needs_classes_as_types),
        torchvision_pipeline,
        no_crop,
    ],
)
def test_any_classifier_and_config_that_can_be_tested(change, config, data, tmp_path):
    row = attempt_ood(config, data, tmp_path, change, sizes=dict(imagenet_r=96))
    row = row['test_sets']['imagenet_r']
    assert (row['samples'], row['size']) == (200, 96)


@pytest.mark.parametrize(
    ('model', 'message'),
    [
        ('Tens', 'needs a classifier of 1000 classes, not 10'),
        ('Unsure', 'Unsure returns no pred_score'),
        (
            'Failing',
            'the model fails on the first batch: RuntimeError: the kernel is larger than the input$',
        ),
    ],
)
def test_models_that_cannot_are_refused_first(model, message, config, data, tmp_path, monkeypatch):
    monkeypatch.setattr(ood, '_accuracy', lambda *_: pytest.fail('evaluated'))
    with pytest.raises(InputError, match=message):
        attempt_ood(config, data, tmp_path, lambda cfg: cfg.update(model=dict(type=model)))


def test_sizes_of_pipelines():
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomApply', transforms=[dict(type='mmpretrain.ResizeEdge', scale=256)]),
        [dict(type=TRANSFORMS.get('CenterCrop'), crop_size=(224, 224))],
    ]
    resize(pipeline, 384)
    assert pipeline[1]['transforms'][0]['scale'] == 438
    assert pipeline[2][0]['crop_size'] == (384, 384)


@pytest.mark.parametrize('size', [0, -1, 10**9])
def test_impossible_sizes(size, config, checkpoint, tmp_path):
    with pytest.raises(InputError, match=rf'clean: {size} pixels, but sizes must be 1 to'):
        evaluate_ood(Config.fromfile(config), str(checkpoint), {}, tmp_path, sizes=dict(clean=size))


@needs_classes_as_types
def test_an_empty_set_and_an_unreadable_picture(config, data, tmp_path):
    (tmp_path / 'r').mkdir()
    with pytest.raises(InputError, match=r'imagenet_r: \S+ cannot be read: ') as error:
        attempt_ood(config, tmp_path, tmp_path, as_class)
    assert '\n' not in str(error.value)
    pictures(tmp_path / 'a', wordnet(A))
    damaged = next(tmp_path.glob(f'a/{wordnet(A)[150]}/*'))
    damaged.write_bytes(b'no picture')
    for workers in (0, 1):

        def change(cfg, workers=workers):
            cfg.model = dict(type='Wrapped')
            cfg.test_dataloader.num_workers = workers

        with pytest.raises(InputError, match=rf'^imagenet_a cannot load {damaged}: ') as error:
            attempt_ood(config, tmp_path, tmp_path, change, ('a',), sizes=dict(imagenet_a=64))
        assert '\n' not in str(error.value)


def test_after_a_picture_that_was_cut_short_the_same_command_goes_on(config, tmp_path, monkeypatch):
    """With the second set; the first one is kept, unless somebody has edited it, or its images."""
    pictures(tmp_path / 'a', wordnet(A), size=32)
    pictures(tmp_path / 'r', wordnet(R), size=32)
    cut = next(tmp_path.glob(f'r/{wordnet(R)[150]}/*'))
    whole = cut.read_bytes()
    evaluated = []
    accuracy = ood._accuracy
    monkeypatch.setattr(ood, '_accuracy', lambda *a: evaluated.append(a[0]) or accuracy(*a))

    def run():
        def change(cfg):
            torch.manual_seed(0)
            cfg.model = dict(type='Wrapped')
            cfg.test_dataloader.num_workers = 1

        evaluated.clear()
        sizes = dict(imagenet_a=32, imagenet_r=32)
        return attempt_ood(config, tmp_path, tmp_path, change, ('a', 'r'), sizes=sizes)

    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=f'^{cut} is truncated: get it again$'):
        run()
    assert evaluated == ['imagenet_a', 'imagenet_r']
    cut.write_bytes(whole)
    rows = run()['test_sets']
    assert evaluated == ['imagenet_r']
    assert run()['test_sets'] == rows and evaluated == []
    file = tmp_path / 'ood' / FILE
    file.write_text(file.read_text().replace('"top1": ', '"top1": 1'))
    assert run()['test_sets'] == rows and evaluated == ['imagenet_a', 'imagenet_r']
    first = next(tmp_path.glob(f'r/{wordnet(R)[0]}/*'))
    size = first.stat().st_size
    cv2.imwrite(str(first), cv2.imread(str(first))[::-1])
    assert first.stat().st_size == size
    run()
    assert evaluated == ['imagenet_r']


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


def test_mistakes_are_said_first(config, checkpoint, data, tmp_path):
    def attempt(message, folders, **options):
        with pytest.raises(InputError, match=message):
            evaluate_ood(
                Config.fromfile(config), str(checkpoint), folders, tmp_path / 'work', **options
            )

    attempt('no such folder: nowhere', dict(imagenet_r='nowhere'))
    attempt('the test set must be one of', dict(imagenet_x='nowhere'))
    attempt("weights must be 'ema' or 'model'", {}, weights=dict(clean='best'))
    attempt('nothing to evaluate', {}, clean=False)
    (tmp_path / 'r').mkdir()
    pictures(tmp_path / 'r', wordnet(R))
    empty = wordnet(R)[7]
    next((tmp_path / 'r' / empty).iterdir()).unlink()
    attempt(f'{empty} has no images', dict(imagenet_r=str(tmp_path / 'r')), clean=False)
    attempt('has no copy of', dict(imagenet_c=str(tmp_path / 'r')), clean=False)


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
