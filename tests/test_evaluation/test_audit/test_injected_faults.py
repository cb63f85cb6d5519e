"""Sweeps of the stripes with one fault each, at the level of the model, the loader or the data."""

import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmseg')

import mmseg.datasets
import mmseg.evaluation  # noqa: F401  (registration)
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from stripe_model import StripeModel
from torch import nn

from fan_mm.datasets.corrupted.generate import generate
from fan_mm.datasets.transforms import CorruptImage
from fan_mm.errors import InputError
from fan_mm.evaluation import RobustnessSweep, read_results
from fan_mm.evaluation.audit import auditor, colours
from fan_mm.evaluation.audit.colours import _exchanged
from fan_mm.jobs.robustness import findings_text

CELLS = dict(corruptions=['gaussian_noise', 'fog', 'contrast'], severities=[1, 3])


@pytest.fixture
def cfg(stripe_config):
    init_default_scope('mmseg')
    cfg = Config.fromfile(stripe_config, import_custom_modules=False)
    cfg.test_dataloader.dataset.data_prefix = dict(
        img_path='leftImg8bit/train', seg_map_path='gtFine/train'
    )
    return cfg


@pytest.fixture
def swept(cfg):
    """The results of a sweep over the four pictures."""

    def run(model=None, **options):
        model = model or StripeModel()
        options = {**CELLS, **options}
        return RobustnessSweep(model, cfg.test_dataloader, cfg.test_evaluator, **options).run()

    return run


def named(results):
    return [finding['check'] for finding in results['audit']['findings']]


def of(results, check):
    [finding] = [f for f in results['audit']['findings'] if f['check'] == check]
    return finding


class Changed(StripeModel):
    """Changes what is predicted."""

    def __init__(self, change):
        super().__init__()
        self.change = change
        self.pictures = 0

    def forward(self, inputs, data_samples=None, mode='tensor'):
        for sample in super().forward(inputs, data_samples, mode):
            data = self.change(sample.pred_sem_seg.data, self.pictures)
            sample.pred_sem_seg = PixelData(data=data)
            self.pictures += 1
        return data_samples


def labels_of(root):
    return sorted(root.glob('gtFine/train/town/*.png'))


def test_nothing_is_found_without_a_fault(swept, tmp_path):
    results = swept(corruptions=None, severities=[3], benchmark='all', work_dir=tmp_path)
    assert named(results) == []
    assert findings_text(results) == []
    assert read_results(tmp_path)['audit'] == results['audit']


def test_a_corruption_that_is_not_applied(swept, monkeypatch):
    monkeypatch.setattr(CorruptImage, 'transform', lambda self, results: results)
    finding = of(swept(), 'same pictures')
    assert len(finding['cells']) == 7


def test_a_severity_that_is_not_looked_at(swept, monkeypatch):
    corrupt = CorruptImage.transform

    def same(self, results):
        self.severity = 2 * bool(self.severity)
        return corrupt(self, results)

    monkeypatch.setattr(CorruptImage, 'transform', same)
    results = swept(corruptions=['fog'])
    assert named(results) == ['same pictures']
    assert of(results, 'same pictures')['cells'] == ['fog/1', 'fog/3']


def test_predictions_of_another_cell(swept):
    """The model hands out again what it predicted first."""
    kept = []

    def stale(data, number):
        if number < 4:
            kept.append(data)
        return kept[number % 4]

    finding = of(swept(Changed(stale)), 'same scores')
    assert len(finding['cells']) == 7


def test_one_class_everywhere(swept):
    """As an overflow in float16 makes, in all cells but the clean one."""
    results = swept(Changed(lambda data, number: data * (number < 4)))
    finding = of(results, 'one class everywhere')
    assert len(finding['cells']) == 6
    assert '100.0 % of the predictions are ' in finding['evidence']
    assert "'road'" in finding['evidence']


def test_label_ids_in_the_place_of_train_ids(swept, tiny_cityscapes):
    for path in labels_of(tiny_cityscapes):
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        label[10:20] = 33
        cv2.imwrite(str(path), label)
    finding = of(swept(), 'values of the labels')
    assert 'have values that are not among the 19: 33' in finding['evidence']


def test_labels_that_are_mostly_ignored(swept, tiny_cityscapes):
    for path in labels_of(tiny_cityscapes):
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        label[:40] = 255
        cv2.imwrite(str(path), label)
    assert 'ignored' in of(swept(), 'values of the labels')['evidence']


def test_classes_in_another_order(swept):
    results = swept(Changed(lambda data, number: (data + 1) % 19))
    assert ' is predicted as ' in of(results, 'order of the classes')['evidence']
    assert of(results, 'clean score')


def test_a_model_that_guesses(swept):
    torch.manual_seed(0)
    results = swept(Changed(lambda data, number: torch.randint_like(data, 19)))
    assert 'no better than guessing' in of(results, 'clean score')['evidence']


class WithLayers(StripeModel):
    """Has a batch norm that stays in training mode, or a head that no checkpoint has set."""

    def __init__(self, learns=False, head=False):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.norm.running_mean += 0.1
        self.learns = learns
        self.decode_head = nn.Conv2d(3, 19, 1)
        if head:
            nn.init.zeros_(self.decode_head.bias)

    def train(self, mode=True):
        super().train(mode)
        self.norm.train(mode or self.learns)
        return self

    def forward(self, inputs, data_samples=None, mode='tensor'):
        for image in inputs:
            self.decode_head(self.norm(image[None].float()))
        return super().forward(inputs, data_samples, mode)


@pytest.mark.parametrize(
    ('fault', 'check', 'evidence'),
    [
        (
            dict(learns=True),
            'batch norms',
            '1 batch norms use batch statistics: norm',
        ),
        (
            dict(head=True),
            'weights of the model',
            '1 layers have their initial values: decode_head',
        ),
        ({}, None, None),
    ],
)
def test_layers(swept, fault, check, evidence):
    results = swept(WithLayers(**fault))
    assert named(results) == ([check] if check else [])
    assert not check or of(results, check)['evidence'] == evidence


def test_values_that_are_not_finite(swept):
    class Overflowing(StripeModel):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            for sample in super().forward(inputs, data_samples, mode):
                logits = torch.zeros(19, 64, 128)
                logits[2] = float('nan') if len(self.seen) > 12 else 0
                sample.seg_logits = PixelData(data=logits)
            return data_samples

    results = swept(Overflowing(), on_error='skip')
    assert 'fog/1' in of(results, 'values that are not finite')['cells']


def test_red_and_blue_exchanged(swept):
    wrong = StripeModel()
    wrong.colours = wrong.colours.flip(1)
    results = swept(wrong, corruptions=['fog'], audit_colours=3)
    evidence = of(results, 'red and blue')['evidence']
    assert evidence.startswith('on 3 clean images mIoU is ')
    assert 'red and blue' not in named(swept(corruptions=['fog'], audit_colours=3))
    assert 'red and blue' not in named(swept(wrong, corruptions=['fog']))  # on request only


def test_one_picture_again_and_again(swept, monkeypatch):
    load, kept = LoadImageFromFile.transform, []

    def cached(self, results):
        kept[1:] = []
        results = load(self, results)
        kept.append(results['img'])
        results['img'] = kept[0].copy()
        return results

    monkeypatch.setattr(LoadImageFromFile, 'transform', cached)
    finding = of(swept(), 'pictures from the loader')
    assert 'clean has 1 different images for 4 samples' in finding['evidence']


@pytest.fixture
def premade(tiny_cityscapes, tmp_path):
    shutil.rmtree(tiny_cityscapes / 'leftImg8bit' / 'val')
    shutil.rmtree(tiny_cityscapes / 'gtFine' / 'val')
    for folder in ('leftImg8bit', 'gtFine'):
        (tiny_cityscapes / folder / 'train').rename(tiny_cityscapes / folder / 'val')
    root = tmp_path / 'c'
    generate(tiny_cityscapes, root, 'cityscapes', {'gaussian_noise': [1, 2, 3]}, jobs=1)
    return root


@pytest.fixture
def swept_copies(cfg, premade):
    cfg.test_dataloader.dataset.data_prefix = dict(
        img_path='leftImg8bit/val', seg_map_path='gtFine/val'
    )

    def run():
        return RobustnessSweep(
            StripeModel(),
            cfg.test_dataloader,
            cfg.test_evaluator,
            corruptions=['gaussian_noise'],
            severities=[1, 3],
            corrupted_root=premade,
        ).run()

    return run


@pytest.mark.parametrize('fault', ['one severity twice', 'severities exchanged', 'none'])
def test_folders_of_copies(swept_copies, premade, fault):
    first, last = (premade / 'gaussian_noise' / str(s) for s in (1, 3))
    if fault == 'one severity twice':
        shutil.rmtree(last)
        shutil.copytree(first, last)
    elif fault == 'severities exchanged':
        first.rename(premade / 'aside')
        last.rename(first)
        (premade / 'aside').rename(last)
    expected = {
        'one severity twice': ['bytes of the copies'],
        'severities exchanged': ['order of severities'],
        'none': [],
    }
    assert named(swept_copies()) == expected[fault]


def test_the_clean_cell_is_audited_before_the_others(swept, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(auditor, 'warn', lambda text: said.append((text, model.pictures)))
    model = Changed(lambda data, number: torch.randint_like(data, 19))
    results = swept(model, work_dir=tmp_path)
    line = next(line for line in findings_text(results) if line.startswith('audit, clean score'))
    assert said == [(line, 4)]
    # a sweep that goes on audits what is stored, whatever is predicted now
    pictures = model.pictures
    again = swept(model, work_dir=tmp_path)
    assert again['audit'] == results['audit']
    assert model.pictures == pictures


@pytest.fixture
def looked_at(tmp_path):
    """What is said of twenty square pictures of four of ImageNet's classes."""
    pytest.importorskip('mmpretrain')
    from mmengine.registry import DATASETS

    from fan_mm.evaluation.audit.crops import cropped_twice

    init_default_scope('mmpretrain')
    __import__('mmpretrain.datasets')

    def look(side, enlarged, crop, classes=1000):
        steps = []
        if enlarged:
            steps.append(dict(type='ResizeEdge', scale=enlarged, edge='short'))
        if crop:
            steps.append(dict(type='CenterCrop', crop_size=crop))
        for number in range(20):
            path = tmp_path / f'{number % 4}' / f'{number}.png'
            path.parent.mkdir(exist_ok=True)
            if not path.exists():
                cv2.imwrite(str(path), np.full((side, side, 3), number, np.uint8))
        pipeline = [dict(type='LoadImageFromFile'), *steps, dict(type='PackInputs')]
        dataset = DATASETS.build(
            dict(type='CustomDataset', data_root=str(tmp_path), with_label=True, pipeline=pipeline)
        )
        paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
        return cropped_twice(dataset, paths, classes), cropped_twice(dataset, paths[:15], classes)

    return look


@pytest.mark.parametrize(
    ('side', 'enlarged', 'crop', 'classes', 'is_found'),
    [
        (32, 37, 32, 1000, True),
        (32, None, None, 1000, False),
        (32, None, 32, 1000, False),
        (16, None, 16, 1000, False),  # an edge of one pixel at least
        (32, 37, 32, 10, False),  # made at one size
        (32, 37, 30, 1000, False),
        # an edge is a 56th of the side: here 2 pixels, of which one is cut off or all
        (112, 114, 112, 1000, False),
        (112, 118, 112, 1000, True),
    ],
)
def test_pictures_cropped_twice(looked_at, side, enlarged, crop, classes, is_found):
    said, of_few = looked_at(side, enlarged, crop, classes)
    assert said == ({'size': [side, side], 'looked_at': 16} if is_found else None)
    assert of_few is None


@pytest.mark.parametrize('other', ['another size', 'no picture'])
def test_pictures_of_several_sizes_are_no_crops(looked_at, tmp_path, other):
    for number in (0, 4, 8, 12, 16) if other == 'another size' else range(20):
        path = tmp_path / f'{number % 4}' / f'{number}.png'
        path.parent.mkdir(exist_ok=True)
        if other == 'another size':
            cv2.imwrite(str(path), np.zeros((40, 50, 3), np.uint8))
        else:
            path.write_bytes(b'no picture')
    assert looked_at(32, 37, 32) == (None, None)


@pytest.mark.parametrize(
    ('kinds', 'has'), [(('iou', 'iou'), True), ((None, None), False), (('iou', None), False)]
)
def test_the_interval_of_exchanged_colours(kinds, has, monkeypatch):
    rng = np.random.default_rng(0)
    union = rng.integers(50, 90, (8, 1, 3))
    answers = iter(
        SimpleNamespace(
            kind=kind,
            statistics=np.concatenate([union - less, union], 1),
            metrics={'mIoU': 90.0 - less},
            headline='mIoU',
        )
        for kind, less in zip(kinds, (5, 25), strict=True)
    )
    monkeypatch.setattr(colours, '_scores', lambda *_: next(answers))
    found = colours.exchanged_colours(None, lambda: [], None, range(8))
    bounds = found.pop('interval')
    assert found == {'images': 8, 'plain': 85.0, 'exchanged': 65.0}
    assert (bounds is not None) == has
    assert not has or bounds[0] < bounds[1] < -20  # of about 70 pixels 20 fewer


@pytest.mark.parametrize(
    ('draws', 'images', 'bounds'),
    [
        ([1.0, 3.0] * 50, 1000, [0.9985, 3.0015]),
        ([1.0, 3.0] * 50, 2, [-7.168, 11.168]),  # t is 12.7 where two say it
        ([1.0, 3.0] * 50, 4, [0.1251, 3.8749]),
        ([1.0, 3.0, np.nan] * 50, 4, [0.1251, 3.8749]),  # some without an object
        ([2.0] * 9, 2, [2.0, 2.0]),
        ([np.nan] * 9, 4, None),
    ],
)
def test_few_pictures_have_a_wide_interval(draws, images, bounds):
    assert colours._of_few(np.array(draws), images) == (bounds and pytest.approx(bounds, abs=1e-3))


def test_one_picture_with_exchanged_colours_proves_nothing(swept):
    with pytest.raises(InputError, match=r'--audit-colours 1: one image .* proves nothing'):
        swept(corruptions=['fog'], severities=[1], audit_colours=1)
    results = swept(corruptions=['fog'], severities=[1], audit_colours=3, max_samples=1)
    assert 'red and blue' not in named(results)
    with pytest.raises(InputError, match='proves nothing'):
        colours.exchanged_colours(None, lambda: [], None, [7])


@pytest.mark.parametrize('form', ['tensor', 'list', 'forms for test-time augmentation'])
def test_red_and_blue_are_exchanged_in_every_form_of_inputs(form):
    picture = torch.arange(3)[:, None, None].expand(3, 4, 5)
    held = {
        'tensor': picture[None],
        'list': [picture],
        'forms for test-time augmentation': [(picture,)],
    }
    exchanged = _exchanged(held[form])
    while not isinstance(exchanged, torch.Tensor):
        assert type(exchanged) in (list, tuple)
        [exchanged] = exchanged
    assert exchanged.reshape(3, 4, 5)[:, 0, 0].tolist() == [2, 1, 0]


def test_pictures_without_colours_lose_no_results(swept, monkeypatch):
    monkeypatch.setattr(colours, '_exchanged', lambda inputs: _exchanged(inputs[0][0]))
    results = swept(corruptions=['fog'], severities=[1], audit_colours=3)
    assert named(results) == []
    assert all(cell['status'] == 'done' for cell in results['cells'])
