"""Faults in real sweeps of three tasks, of fitted models on rendered pictures: each is found and named."""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.structures import InstanceData

from fan_mm.datasets.corrupted.generate import generate
from fan_mm.datasets.corrupted.layouts import cell_folder
from fan_mm.datasets.scenes import CLASSES
from fan_mm.datasets.transforms import CorruptImage

pytestmark = pytest.mark.campaign

TASKS = ('streets', 'things', 'single')
LAYOUTS = {'streets': 'cityscapes', 'things': 'coco', 'single': 'imagenet'}
CELLS = dict(corruptions=['gaussian_noise', 'fog', 'contrast'], severities=[1, 3])
# Cityscapes' label ids of the 19 classes.
LABEL_IDS = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]


@pytest.fixture(params=TASKS)
def task(request):
    return request.getfixturevalue(request.param)


def findings(task, model, name='small', **options):
    """check -> its finding, of a sweep."""
    results = task.sweep(name, model, **{**CELLS, **options}).run()
    return {finding['check']: finding for finding in results['audit']['findings']}


def by_heart(task):
    """A model that knows the evaluated pictures."""
    return task.model(examples=task.evaluated or None)


@pytest.mark.parametrize('knows_them', [False, True])
def test_no_fault(task, knows_them):
    model = by_heart(task) if knows_them else task.model()
    assert findings(task, model, audit_colours=40) == {}


def test_a_corruption_that_does_nothing(task, monkeypatch):
    monkeypatch.setattr(CorruptImage, 'transform', lambda self, results: results)
    found = findings(task, task.model())
    assert list(found) == ['same pictures'] and len(found['same pictures']['cells']) == 7


def test_one_picture_again_and_again(task, monkeypatch):
    load, kept = LoadImageFromFile.transform, []

    def cached(self, results):
        results = load(self, results)
        kept[1:] = []
        kept.append(results['img'])
        results['img'] = kept[0].copy()
        return results

    monkeypatch.setattr(LoadImageFromFile, 'transform', cached)
    assert 'pictures from the loader' in findings(task, task.model())


def changed(model, change):
    """A model that predicts for other pictures than those it gets."""
    predict = model.predict
    model.predict = lambda picture, sample: predict(change(picture), sample)
    return model


def test_predictions_of_the_clean_cell_in_every_cell(task):
    first = {}
    model = task.model()
    predict = model.predict

    def stale(picture, sample):
        predict(first.setdefault(sample.img_path, picture), sample)

    model.predict = stale
    found = findings(task, model)
    assert list(found) == ['same scores'] and len(found['same scores']['cells']) == 7


def test_red_and_blue_exchanged(task):
    task = replace(task, learn=type('SeesColours', (task.learn,), dict(sees_edges=False)))
    options = dict(corruptions=['fog'], severities=[1], audit_colours=40)
    assert findings(task, by_heart(task), **options) == {}
    model = changed(by_heart(task), lambda picture: picture[..., ::-1].copy())
    assert 'red and blue' in findings(task, model, **options)


def test_a_layer_that_the_checkpoint_lacks(task):
    model = task.model()
    model.head.layer.reset_parameters()
    found = findings(task, model)
    assert 'head.layer' in found['weights of the model']['evidence']


@pytest.mark.parametrize('name', TASKS[:2])  # one row of a batch alone has no statistics
def test_batch_norms_in_training_mode(name, request):
    task = request.getfixturevalue(name)
    model = task.model()
    model.head.norm.train = lambda mode=True: model.head.norm
    model.head.norm.training = True
    found = findings(task, model)
    assert 'head.norm' in found['batch norms']['evidence']


def test_a_model_that_overflows(task):
    """Where contrast is low, as a division by a spread does in float16."""
    spreads = []
    assert findings(task, changed(task.model(), lambda p: spreads.append(p.std()) or p)) == {}
    bound = min(spreads[: len(spreads) // 7])  # of the clean cell, the first of seven
    model = task.model()
    forward = model.head.forward

    def predict(picture, sample, plain=model.predict):
        model.head.forward = lambda x: forward(x) * (torch.nan if picture.std() < bound else 1)
        plain(picture, sample)

    model.predict = predict
    found = findings(task, model, on_error='skip')
    assert 'contrast/3' in found['values that are not finite']['cells']


def test_one_class_everywhere(task):
    model = task.model()
    with torch.no_grad():
        model.head.layer.bias[2] += 100
    found = findings(task, model)
    assert 'clean' in found['one class everywhere']['cells']


@pytest.mark.parametrize('name', ['upright', *TASKS[1:]])
def test_classes_in_another_order(name, request):
    task = request.getfixturevalue(name)
    model = by_heart(task)
    known = task.classes - (name == 'things')  # the background keeps its place
    with torch.no_grad():
        for part in (model.head.layer.weight, model.head.layer.bias):
            part[:known] = part[:known].roll(1, 0)
    found = findings(task, model, '15' if name == 'upright' else 'small')
    if name == 'upright':
        assert ' is predicted as ' in found['order of the classes']['evidence']
    else:  # four objects of a class say no more
        assert 'another class order' in found['clean score']['reason']


@pytest.mark.parametrize('name', ['upright', *TASKS[1:]])
def test_a_clean_score_of_chance(name, request):
    """Pictures of which the model sees nothing; of a detector, boxes that were not scaled back."""
    task = request.getfixturevalue(name)
    rng = np.random.default_rng(0)
    model = task.model()
    predict = model.predict

    def halved(picture, sample):
        predict(picture, sample)
        found = sample.pred_instances
        sample.pred_instances = InstanceData(**{**dict(found.items()), 'bboxes': found.bboxes / 2})

    if name == 'things':
        model.predict = halved
    else:
        changed(model, lambda p: rng.integers(0, 256, p.shape).astype(np.uint8))
    found = findings(task, model, '15' if name == 'upright' else 'small')
    assert 'no better than guessing' in found['clean score']['evidence']


def copy_of(task, tmp_path):
    """The same data set elsewhere, to be changed."""
    old = task.datasets['small']
    root = tmp_path / 'copy'
    shutil.copytree(old['data_root'], root)
    return root, old | dict(data_root=str(root))


@pytest.mark.parametrize('fault', ['label ids', 'mostly ignored'])
def test_values_of_the_labels(streets, tmp_path, fault, monkeypatch):
    root, dataset = copy_of(streets, tmp_path)
    for path in root.glob('gtFine/val/*/*_labelTrainIds.png'):
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if fault == 'label ids':
            table = np.zeros(256, np.uint8)
            table[[int(label) for label in CLASSES]] = LABEL_IDS
            label = table[label]
        else:
            label[: 3 * len(label) // 4] = 255
        cv2.imwrite(str(path), label)
    monkeypatch.setitem(streets.datasets, 'copy', dataset)
    evidence = findings(streets, streets.model(), 'copy')['values of the labels']['evidence']
    wanted = 'values that are no class of the 19' if fault == 'label ids' else 'ignored'
    assert wanted in evidence


@pytest.mark.parametrize(
    ('name', 'fault'),
    [
        *((name, fault) for name in TASKS for fault in ('one severity twice', 'none')),
        *((name, 'clean images') for name in TASKS[:2]),  # copies of ImageNet are crops
    ],
)
def test_folders_of_copies(name, fault, request, tmp_path):
    task, layout = request.getfixturevalue(name), LAYOUTS[name]
    clean, copies = Path(task.datasets['small']['data_root']), tmp_path / 'c'
    cells = {'gaussian_noise': [1, 3]}
    generate(clean, copies, layout, cells, jobs=1, file_format='keep')
    first, last = (copies / cell_folder(layout, 'gaussian_noise', s) for s in (1, 3))
    sources = {path.name: path for path in pictures_in(clean)}
    if fault != 'none':
        for path in pictures_in(last):
            other = first / path.relative_to(last)
            shutil.copy(other if fault == 'one severity twice' else sources[path.name], path)
    found = findings(task, task.model(), corruptions=['gaussian_noise'], corrupted_root=str(copies))
    assert list(found) == ([] if fault == 'none' else ['bytes of the copies'])


def pictures_in(root):
    return [*root.rglob('*.jpg'), *root.rglob('*_leftImg8bit.png')]


@pytest.mark.parametrize('name', ['upright', *TASKS[1:]])
def test_severities_exchanged(name, request, monkeypatch):
    task = request.getfixturevalue(name)
    corrupt = CorruptImage.transform

    def exchanged(self, results):
        severity = self.severity
        self.severity = {1: 5, 5: 1, 0: 0}[severity]
        results = corrupt(self, results)
        self.severity = severity
        return results

    monkeypatch.setattr(CorruptImage, 'transform', exchanged)
    names = ['noise', 'contrast', 'jpeg_compression']
    options = dict(benchmark='coco-c', corruptions=names, severities=[1, 5])
    found = findings(task, by_heart(task), '15' if name == 'upright' else 'small', **options)
    assert 'order of severities' in found


def test_crops_that_are_cropped_again(single, tmp_path, monkeypatch):
    """As many classes as ImageNet has, of which the pictures show ten."""
    plain = single.datasets['small']
    classes = plain['metainfo']['classes']
    listed = [
        f'{path.parent.name}/{path.name} {classes.index(path.parent.name)}'
        for path in sorted(Path(plain['data_root']).glob('val/*/*.jpg'))
    ]
    (tmp_path / 'val.txt').write_text('\n'.join(listed))
    plain = plain | dict(
        ann_file=str(tmp_path / 'val.txt'),
        metainfo=dict(classes=[*classes, *(f'class {n}' for n in range(10, 1000))]),
    )
    cropped = plain | dict(pipeline=single.datasets['large']['pipeline'])
    monkeypatch.setattr(single, 'datasets', dict(cropped=cropped, plain=plain))
    for name in ('cropped', 'plain'):
        found = findings(single, single.model(), name)
        assert list(found) == (['crops'] if name == 'cropped' else [])
