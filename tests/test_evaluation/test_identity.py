"""What a config's fingerprint notices, and what it does not."""

import functools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook

from fan_mm.evaluation import identity
from fan_mm.evaluation.identity import (
    SAMPLE,
    _content,
    _digest,
    _plain,
    config_sha256,
    dataset_sha256,
    listing_sha256,
    sample_sha256,
)
from fan_mm.evaluation.samples import spread

CONFIG = dict(
    model=dict(type='ImageClassifier', backbone=dict(type='FANViT')),
    data_preprocessor=dict(type='ClsDataPreprocessor', mean=[123.675, 116.28, 103.53]),
    test_dataloader=dict(batch_size=8, num_workers=2),
    test_evaluator=dict(type='Accuracy'),
    custom_hooks=[dict(type='RobustnessHook')],
)


def digest(**changes):
    cfg = Config(CONFIG)
    cfg.merge_from_dict({name.replace('__', '.'): value for name, value in changes.items()})
    return config_sha256(cfg)


@pytest.mark.parametrize(
    'change',
    [
        dict(model__backbone__type='FANSwin'),
        dict(data_preprocessor__mean=[0, 0, 0]),  # mmpretrain keeps it beside the model
        dict(data_preprocessor__mean=[123.5, 116.28, 103.53]),
        dict(test_dataloader__batch_size=4),
        dict(test_evaluator__type='MultiLabelMetric'),
        dict(custom_hooks=[dict(type='EMAHook')]),  # evaluates the averaged weights
    ],
)
def test_what_decides_the_numbers_counts(change):
    assert digest(**change) != digest()


@pytest.mark.parametrize(
    'change',
    [
        dict(test_dataloader__num_workers=0),
        dict(custom_hooks=[]),
        dict(work_dir='elsewhere'),
    ],
)
def test_the_rest_does_not(change):
    assert digest(**change) == digest()


def test_a_preprocessor_that_the_model_does_not_use_does_not_count():
    """mmseg and mmdet name it beside the model and use it inside."""
    inside = dict(model__data_preprocessor=dict(type='SegDataPreProcessor'))
    assert digest(**inside, data_preprocessor__mean=[0, 0, 0]) == digest(**inside)


# ---------------------------------------------------------------------- the same, in another form


def test_types_in_whatever_form_and_numbers_in_whatever_order():
    from mmpretrain.evaluation import Accuracy

    for kind in ('mmpretrain.Accuracy', Accuracy):
        assert digest(test_evaluator__type=kind) == digest()
    assert digest(model__backbone__depth=2.0) == digest(model__backbone__depth=2)
    assert digest(model__shape=(1, 2)) == digest(model__shape=[1, 2])
    one = Config(dict(model=dict(a=1, b=dict(c=2, d={3: 4, 'e': 5}))))
    other = Config(dict(model=dict(b=dict(d={'e': 5, 3: 4}, c=2), a=1)))
    assert config_sha256(one) == config_sha256(other)


@pytest.mark.parametrize('hooks', [[dict(type='mmengine.EMAHook')], [dict(type=EMAHook)]])
def test_averaged_weights_however_the_hook_is_named(hooks):
    assert digest(custom_hooks=hooks) == digest(custom_hooks=[dict(type='EMAHook')]) != digest()
    assert digest(default_hooks=dict(ema=hooks[0])) == digest(custom_hooks=hooks)


class Made:
    """An object whose repr has its address."""


def times(factor):
    return lambda value: value * factor


OBJECTS = {
    'object': Made,
    'lambda': lambda: lambda value: value + 1,
    'partial': lambda: functools.partial(round, ndigits=2),
    'array': lambda: np.arange(3),
    'tensor': lambda: torch.arange(3),
    'slice': lambda: slice(1, 2),
}


@pytest.mark.parametrize('make', OBJECTS.values(), ids=OBJECTS)
def test_objects_in_a_config_have_no_address(make):
    assert _digest(_content([make()])) == _digest(_content([make()]))


def test_the_order_of_sets_does_not_count():
    assert _plain({'b', 'a', 'c'}) == _plain(frozenset('bac')) == ['a', 'b', 'c']


def test_other_objects_are_others():
    found = {
        _digest(_content([value]))
        for value in (
            *(lambda x: x + 1, lambda x: x + 2, lambda x: [x for _ in 'a'], len, Made, times),
            *(times(2), times(3), lambda x, y=1: x, lambda x, y=2: x),
            *(np.arange(3), np.arange(4), {'a'}, {'b'}, functools.partial(round, ndigits=1)),
        )
    }
    assert len(found) == 15


# ------------------------------------------------------------------------------------- places


PLACES = {
    'root': ('test_dataloader.dataset.data_root', 'd/coco', 'e/coco'),
    'prefix': ('test_dataloader.dataset.data_prefix', dict(img='val/'), dict(img='/x/val/')),
    'list': ('test_dataloader.dataset.ann_file', 'd/meta/val.txt', '/node/meta/val.txt'),
    'nested': (
        'test_dataloader.dataset',
        dict(type='ConcatDataset', datasets=[dict(type='A', data_root='d/coco')]),
        dict(type='ConcatDataset', datasets=[dict(type='A', data_root='/e/coco')]),
    ),
    'wrapped': (
        'test_dataloader.dataset',
        dict(type='ClassBalanced', dataset=dict(type='A', data_root='d/coco')),
        dict(type='ClassBalanced', dataset=dict(type='A', data_root='/e/coco')),
    ),
    'truth': ('test_evaluator.ann_file', 'd/coco/a.json', '/e/coco/a.json'),
    'several truths': (
        'test_evaluator',
        [dict(type='A', ann_file='d/a.json'), dict(type='B')],
        [dict(type='A', ann_file='/e/a.json'), dict(type='B')],
    ),
    'output': ('test_evaluator.outfile_prefix', 'work/one', 'work/two'),
    'weights': ('model.backbone.init_cfg.checkpoint', 'd/w.pth', '/e/w.pth'),
    'teacher': ('model.teacher.checkpoint', 'd/w.pth', '/e/w.pth'),
    'backend': ('test_dataloader.dataset.backend_args', dict(a=1), dict(a=2)),
}


@pytest.mark.parametrize('place', PLACES.values(), ids=PLACES)
def test_where_things_lie_does_not_count(place):
    key, here, there = place
    key = key.replace('.', '__')
    assert digest(**{key: here}) == digest(**{key: there})


@pytest.mark.parametrize(
    'key', ['model.init_cfg.checkpoint', 'test_evaluator.ann_file', 'test_dataloader.pipeline.maps']
)
def test_the_content_of_files_counts_wherever_they_lie(tmp_path, monkeypatch, key):
    key = key.replace('.', '__')
    for name in ('one', 'two', 'three'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'file.bin').write_bytes(b'other' if name == 'three' else b'equal')
        (tmp_path / name / 'more.bin').write_bytes(b'more')
    one, two, three = (str(tmp_path / n / 'file.bin') for n in ('one', 'two', 'three'))
    assert digest(**{key: one}) == digest(**{key: two}) != digest(**{key: three})
    one, two, three = (str(tmp_path / n) for n in ('one', 'two', 'three'))
    before = digest(**{key: one})
    listed = Path.iterdir  # in whatever order
    monkeypatch.setattr(Path, 'iterdir', lambda path: sorted(listed(path), reverse=path.name > 't'))
    assert before == digest(**{key: one}) == digest(**{key: two}) != digest(**{key: three})


def test_folders_that_are_written_do_not_count(tmp_path):
    """A metric's own files are there when the sweep goes on."""
    before = digest(test_evaluator__save_dir=str(tmp_path))
    (tmp_path / 'predictions.json').write_text('{}')
    assert digest(test_evaluator__save_dir=str(tmp_path)) == before
    assert digest(model__output_stride=8) != digest(model__output_stride=16)


def test_names_that_are_no_places_count():
    assert digest(test_evaluator__prefix='a') != digest(test_evaluator__prefix='b')
    assert digest(model__name='a/b') != digest(model__name='c/b')
    assert digest(model__init__checkpoint='s3://a/b') != digest(model__init__checkpoint='s3://c/b')


# --------------------------------------------------------------------------------------- data


class Data:
    metainfo = dict(classes=('cat', 'dog'))


def samples(root, count=3, suffix='.png'):
    found = []
    for i in range(count):
        for folder in ('images', 'labels'):
            path = root / folder / f'{i}{suffix}'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f'{folder} {i}'.encode())
        found.append(
            dict(
                img_path=str(root / 'images' / f'{i}{suffix}'),
                seg_map_path=str(root / 'labels' / f'{i}{suffix}'),
                img_id=i,
                instances=[dict(bbox=[1, 2, 3, i], bbox_label=0, ignore_flag=0)],
                sample_idx=i,
            )
        )
    return found


def test_data_that_moved(tmp_path):
    one, two = samples(tmp_path / 'one'), samples(tmp_path / 'two')
    two[0]['sample_idx'] = 7
    assert dataset_sha256(Data, one) == dataset_sha256(Data, two)


@pytest.mark.parametrize('count', [3, 150])
@pytest.mark.parametrize('folder', ['images', 'labels'])
def test_an_edit_of_equal_length_counts(tmp_path, folder, count):
    one, two = samples(tmp_path / 'one', count), samples(tmp_path / 'two', count)
    path = tmp_path / 'two' / folder / f'{spread(count, SAMPLE)[1]}.png'
    path.write_bytes(path.read_bytes().swapcase())
    assert dataset_sha256(Data, one) != dataset_sha256(Data, two)


def test_a_change_of_size_counts_among_many(tmp_path):
    one, two = samples(tmp_path / 'one', 150), samples(tmp_path / 'two', 150)
    with open(tmp_path / 'two/images/149.png', 'ab') as file:
        file.write(b'more')
    assert dataset_sha256(Data, one) != dataset_sha256(Data, two)


@pytest.mark.parametrize(
    'change',
    [
        dict(instances=[dict(bbox=[1, 2, 3, 9], bbox_label=0, ignore_flag=0)]),
        dict(instances=[dict(bbox=[1, 2, 3, 1], bbox_label=0, ignore_flag=1)]),
        dict(gt_label=1),
        dict(reduce_zero_label=True),
        dict(img_id=8),
        dict(text='a cat'),
    ],
)
def test_whatever_a_dataset_knows_of_a_sample_counts(tmp_path, change):
    infos = samples(tmp_path)
    changed = [*infos]
    changed[1] = {**infos[1], **change}
    assert dataset_sha256(Data, infos) != dataset_sha256(Data, changed)


def test_what_lies_elsewhere_is_known_by_name_and_said(tmp_path, caplog):
    infos = [dict(img_path='s3://bucket/val/1.png'), dict(img_path='s3://bucket/val/2.png')]
    moved = [dict(img_path=info['img_path'].replace('bucket', 'other')) for info in infos]
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identity, 'warn', lambda text: said.append(text))
        assert dataset_sha256(Data, infos) == dataset_sha256(Data, moved)
        assert dataset_sha256(Data, infos) != dataset_sha256(Data, infos[::-1])
        assert dataset_sha256(Data, infos) == dataset_sha256(
            Data, infos, listing_sha256(Data, infos)
        )
        assert dataset_sha256(Data, infos) != dataset_sha256(Data, infos, 'another')
    assert said[0].startswith('2 files of the dataset cannot be read')


def test_names_that_are_no_utf8(tmp_path):
    infos = samples(tmp_path, suffix=os.fsdecode(b'\xff.png'))
    assert dataset_sha256(Data, infos) == dataset_sha256(Data, infos)
    assert digest(model__checkpoint=infos[0]['img_path']) != digest()


@pytest.mark.parametrize('size', [10, 100, 1000])
def test_large_files_are_looked_at_in_three_places(tmp_path, size):
    (tmp_path / 'one').mkdir()
    (tmp_path / 'two').mkdir()
    one, two = tmp_path / 'one/a', tmp_path / 'two/a'
    one.write_bytes(bytes(size))
    for place in (0, size // 2, size - 1):
        data = bytearray(size)
        data[place] = 1
        two.write_bytes(data)
        assert sample_sha256([one], 30) != sample_sha256([two], 30)
    two.write_bytes(bytes(size))
    assert sample_sha256([one], 30) == sample_sha256([two], 30)


def test_results_of_all_versions_name_a_dataset_alike(tmp_path):
    class Toy:
        metainfo = dict(classes=('cat', 'dog'))

    digest = 'dfee8a3aa1cd9b69d23459140536b1725482bf7cb2ad3836f2d9415315ece908'
    assert listing_sha256(Toy(), samples(tmp_path)) == digest
