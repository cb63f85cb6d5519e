"""Mistakes that would end a classifier's training later are one line before it."""

import copy
import re
import shutil

import pytest
import torch
from complaints import complaint, data_complaint
from mmengine.config import Config
from mmengine.model import PretrainedInit
from mmengine.registry import DefaultScope

from fan_mm.datasets.scenes import write_imagenet
from fan_mm.engine import prepare_runtime
from fan_mm.engine.checks.datasets import unread_settings
from fan_mm.engine.classification_checks import (
    labels_by_folder,
    number_of_classes,
    other_positions,
)
from fan_mm.engine.config_checks import check_checkpoints, check_data, check_settings
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError

pytest.importorskip('mmpretrain')


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'toy'
    write_imagenet(root, (64, 64), 10, 10, jobs=1)
    return root


@pytest.fixture
def data(pictures, tmp_path):
    return shutil.copytree(pictures, tmp_path / 'toy')


def config(repo_root, data, name='fan_hybrid_toy_imagenet'):
    cfg = Config.fromfile(repo_root / f'configs/{name}.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(data)
    return cfg


def test_good_config_passes_and_asks_for_no_weights(repo_root, data):
    notes = prepare_runtime(config(repo_root, data), training=True)
    assert not any('random weights' in note for note in notes)


def test_class_folders(repo_root, data):
    for path in (data / 'train/bus').iterdir():
        path.unlink()
    message = complaint(config(repo_root, data))
    assert message == f'train_dataloader.dataset: the class folder {data}/train/bus has no images'
    shutil.rmtree(data / 'train/bus')
    assert 'has 9 class folders, but there are 10 classes' in complaint(config(repo_root, data))
    shutil.rmtree(data / 'train')
    (data / 'train').mkdir()
    assert f'no class folders in {data}/train' in complaint(config(repo_root, data))
    (data / 'train').rmdir()
    assert f'no folder {data}/train' in complaint(config(repo_root, data))
    prepare_runtime(config(repo_root, data), training=False)  # the test split is whole


def test_a_class_without_pictures_in_an_evaluation(repo_root, data):
    """Its folder keeps the labels of the others."""
    for path in (data / 'val/bus').iterdir():
        path.unlink()
    for training in (True, False):
        notes = prepare_runtime(config(repo_root, data), training=training)
        assert any(f'the class folder {data}/val/bus has no images' in note for note in notes)
    for path in (data / 'val').rglob('*.jpg'):
        path.unlink()
    with pytest.raises(InputError, match=r'the class folders in .* have no images'):
        prepare_runtime(config(repo_root, data))


def test_many_classes_without_pictures_are_one_line(repo_root, data):
    for path in data.glob('val/b*/*'):
        path.unlink()
    notes = [
        n for n in prepare_runtime(config(repo_root, data), training=False) if 'class folder' in n
    ]
    empty = sorted(path.name for path in data.glob('val/b*'))
    assert len(empty) > 1 and len(notes) == 1
    assert f'val/{empty[0]} and {len(empty) - 1} more of the 10 have no images' in notes[0]


HEAD = dict(head=dict(num_classes=1000))


@pytest.mark.parametrize(
    ('names', 'model', 'words'),
    [
        (['n01440764', 'n01443537'], HEAD, "the 2 class folders are a subset of ImageNet's"),
        (['n01440764_tench', 'n01443537_goldfish'], {}, "a subset of ImageNet's"),
        (['n01440764', 'n01443537'], dict(head=dict(num_classes=2)), None),
        (['n01440764', 'n01443537'], dict(num_classes=2), None),  # timm's
        (
            ['Afghan_hound', 'Airedale', 'tench'],
            HEAD,
            "'Afghan_hound' is 0: correct for a model trained",
        ),
        (['great white shark', 'tench'], HEAD, 'not for one to which it is 2'),
        (['tench', 'goldfish', 'great_white_shark'], HEAD, None),
        (['Afghan_hound', 'tench'], dict(head=dict(num_classes=2)), None),
        (['bus', 'car'], HEAD, None),
        (['0', '1', '10', '2'], HEAD, "'10' is 2: correct"),
        (['0', '1', '10', '2'], dict(head=dict(num_classes=11)), "'10' is 2"),
        (['00', '01', '02'], HEAD, None),
        (['01', '02', '03'], dict(head=dict(num_classes=3)), None),
        (['01', '02', '03'], HEAD, "'01' is 0: correct"),
    ],
)
def test_labels_that_a_model_may_count_otherwise(names, model, words):
    line = other_positions('test_dataloader.dataset', names, model)
    assert line is None if words is None else words in line and '\n' not in line


def test_nothing_is_said_of_the_folders_that_a_model_was_trained_on(repo_root, data):
    """ImageNet's part by its ids, beside a head of more classes than folders."""
    for split in ('train', 'val'):
        for number, folder in enumerate(sorted((data / split).iterdir())):
            folder.rename(folder.with_name(f'n0144076{number}'))
    cfg = config(repo_root, data)
    cfg.model.head.num_classes = 1000
    for dataset in (cfg.train_dataloader.dataset, cfg.test_dataloader.dataset):
        dataset.metainfo = dict(classes=[f'n0144076{number}' for number in range(10)])
    said = "a subset of ImageNet's"
    assert not any(said in note for note in prepare_runtime(cfg, training=False))
    shutil.rmtree(data / 'train')
    assert any(said in note for note in prepare_runtime(cfg, training=False))


def test_pictures_of_other_suffixes_are_said(repo_root, data, tmp_path):
    cfg = config(repo_root, data)
    root = tmp_path / 'more'
    shutil.copytree(data / 'val', root / 'val')
    for name in ('b.webp', 'a.JFIF', 'notes.txt', '._a.webp'):
        (sorted(root.glob('val/*'))[2] / name).touch()
    cfg.val_dataloader.dataset.data_root = str(root)
    note = next(n for n in prepare_runtime(cfg, training=True) if 'left out' in n)
    assert note.startswith('val_dataloader.dataset: 2 images in the class folders are left out')
    assert '/a.JFIF): extensions are .bmp, ' in note


def test_imagenet_has_a_thousand(repo_root, data):
    cfg = config(repo_root, data)
    del cfg.train_dataloader.dataset['metainfo']
    message = complaint(cfg)
    assert 'has 10 class folders, but there are 1000 classes' in message
    assert 'metainfo=dict(classes=[...])' in message
    assert message.endswith('model.head.num_classes=10')


def test_a_head_of_imagenet_22k_for_1k(repo_root, data, tmp_path):
    cfg = config(repo_root, data)
    cfg.load_from = str(tmp_path / 'in22k.pth')
    torch.save(
        dict(state_dict={'backbone.a': torch.zeros(1), 'head.fc.weight': torch.zeros(21841, 4)}),
        cfg.load_from,
    )
    message = complaint(cfg)
    assert 'has 21841 classes, the config 10' in message
    assert 'model.backbone.init_cfg.checkpoint=' in message


def test_a_student_without_its_teacher(repo_root, data):
    cfg = config(repo_root, data, 'fan_hybrid_toy_stl_student_imagenet')
    assert 'model.teacher: no such checkpoint: work_dirs/' in complaint(cfg)
    cfg.model.teacher = None
    assert 'an STL student needs a teacher' in complaint(cfg)
    prepare_runtime(cfg, training=False)  # testing needs none


def test_another_batch_size_is_said(repo_root, data):
    cfg = config(repo_root, data, 'fan_hybrid_s_imagenet')
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.metainfo = dict(classes=[str(i) for i in range(10)])
    notes = prepare_runtime(cfg, training=True)
    said = next(note for note in notes if note.startswith('batch size 64'))
    assert 'the learning rate is for 4096' in said and '--auto-scale-lr' in said


SPLITS = ['train', 'val', 'test']


@pytest.fixture(scope='module')
def parsed(repo_root, pictures):
    cfg = config(repo_root, pictures)
    register_task_library(cfg)
    return cfg


@pytest.fixture
def listed(parsed, pictures, tmp_path):
    """A config whose splits read lists, and what writes one of these."""
    cfg = copy.deepcopy(parsed)
    lines = {}
    for split in ('train', 'val'):
        files = sorted((pictures / split).rglob('*.*'))
        names = sorted({file.parent.name for file in files})
        lines[split] = [
            f'{f.relative_to(pictures / split)} {names.index(f.parent.name)}' for f in files
        ]
    for split in SPLITS:
        folder = 'train' if split == 'train' else 'val'
        cfg[f'{split}_dataloader'].dataset.update(
            type='CustomDataset', ann_file=str(tmp_path / f'{folder}.txt'), data_prefix=folder
        )
        cfg[f'{split}_dataloader'].dataset.pop('split', None)

    def write(split, change=lambda lines: lines):
        for name in lines:
            text = '\n'.join(change(list(lines[name])) if name == split else lines[name])
            (tmp_path / f'{name}.txt').write_text(text)
        return cfg

    return write


def test_lists(listed):
    cfg = listed(None)
    assert check_data(cfg, training=True) == check_data(cfg, training=False) == []


@pytest.mark.parametrize('split', SPLITS)
@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda lines: ['absent.png 1', *lines], 'no image .*absent.png, which .* lists'),
        (lambda lines: [*lines, f'{lines[0].split()[0]} 10'], 'has the label 10; labels are 0..9'),
        (lambda lines: [*lines, f'{lines[0].split()[0]} -1'], 'has the label -1'),
        (lambda lines: [f'{lines[0].split()[0]} bus', *lines[1:]], "line 1 .* is '.* bus'"),
        (lambda lines: [lines[0].split()[0], *lines[1:]], "it must be 'IMAGE LABEL'"),
        (lambda lines: [lines[0], '', *lines[1:]], "line 2 .* is ''"),
        (lambda lines: [], 'is empty'),
    ],
)
def test_mistakes_in_lists(listed, split, change, words):
    cfg = listed('train' if split == 'train' else 'val', change)
    message = data_complaint(cfg, training=split != 'test')
    assert message.startswith(f'{split}_dataloader.dataset: ')
    assert re.search(words, message), message


def test_a_list_of_images_without_labels(listed):
    """As those of ImageNet's test set: predictions of them can be written, but not scored."""
    cfg = listed('val', lambda lines: [f'{line.split()[0]} -1' for line in lines])
    assert 'has the label -1' in data_complaint(cfg, training=False)
    cfg.test_evaluator = dict(type='DumpResults', out_file_path='a.pkl')
    assert check_data(cfg, training=False) == []


def test_pictures_that_an_evaluation_takes_twice(listed):
    cfg = listed('val', lambda lines: [*lines, lines[0]])
    notes = check_data(cfg, training=True)
    assert [note.partition(':')[0] for note in notes] == ['val_dataloader.dataset']
    assert '1 images listed more than once' in notes[0]
    assert check_data(listed('train', lambda lines: [*lines, lines[0]]), training=True) == []


def test_a_list_that_is_no_utf_8(listed, tmp_path):
    cfg = listed(None)
    (tmp_path / 'val.txt').write_text('a.jpg 1', encoding='utf-16')
    assert data_complaint(cfg).endswith('val.txt is not text in UTF-8')


def test_lists_without_labels_and_other_readers(listed):
    from mmpretrain.datasets import CustomDataset

    class Other(CustomDataset):
        def load_data_list(self):
            return []

    cfg = listed('val', lambda lines: [line.split()[0] for line in lines])
    cfg.test_dataloader.dataset.with_label = False
    assert check_data(cfg, training=False) == []
    cfg.test_dataloader.dataset.update(type=Other, with_label=True)
    assert check_data(cfg, training=False) == []


def exchanged(lines):
    """Labels 2 and 3 are each other's."""
    other = {'2': '3', '3': '2'}
    return [line[:-1] + other.get(line[-1], line[-1]) for line in lines]


@pytest.mark.parametrize('training', [True, False])
def test_lists_that_number_the_folders_otherwise(listed, pictures, training):
    cfg = listed('val', exchanged)
    split = 'val' if training else 'test'
    names = sorted(path.name for path in (pictures / 'val').iterdir())
    message = data_complaint(cfg, training)
    assert message == (
        f'{split}_dataloader.dataset gives the images in a folder {names[2]!r} the label 3, '
        'train_dataloader.dataset gives it 2: classes would be confused'
    )
    cfg.train_dataloader.dataset.ann_file = ''  # class folders
    assert 'the label 3, train_dataloader.dataset gives it 2' in data_complaint(cfg, training)
    cfg.model.type = 'ImageToImageRetriever'
    assert check_data(cfg, training) == []
    cfg.model.type = 'ImageClassifier'
    if not training:
        cfg.train_dataloader.dataset.data_root = 'absent'
        assert check_data(cfg, training) == []


@pytest.mark.parametrize(
    ('lines', 'labels'),
    [
        (['a/1.png 4', 'b/c/1.png 2', 'a/2.png 4'], dict(a=4, c=2)),
        (['a/1.png 4', 'a/2.png 3'], {}),  # folders of something else
        (['a/1.png 4', 'b/1.png 4'], {}),
        (['1.png 4'], {}),
        (['a/1.png x'], {}),
    ],
)
def test_folders_in_a_list(tmp_path, lines, labels):
    from mmpretrain.datasets import CustomDataset

    (tmp_path / 'list.txt').write_text('\n'.join(lines))
    dataset = CustomDataset(ann_file=str(tmp_path / 'list.txt'), lazy_init=True)
    assert labels_by_folder(dataset) == labels
    for name in 'ba':
        (tmp_path / 'folders' / name).mkdir(parents=True)
    dataset = CustomDataset(data_root=str(tmp_path / 'folders'), lazy_init=True)
    assert labels_by_folder(dataset) == dict(a=0, b=1)
    assert labels_by_folder(None) == {}


def test_labels_against_the_head(listed):
    cfg = listed(None)
    for split in SPLITS:
        cfg[f'{split}_dataloader'].dataset.pop('metainfo', None)
    assert check_data(cfg, training=True) == []
    cfg.model.head.num_classes = 9
    assert 'labels are 0..8' in data_complaint(cfg)


@pytest.mark.parametrize('training', [True, False])
def test_other_class_folders_than_in_training(parsed, data, training):
    """As many, but labels are positions among them."""
    cfg = copy.deepcopy(parsed)
    for split in SPLITS:
        cfg[f'{split}_dataloader'].dataset.data_root = str(data)
    assert check_data(cfg, training) == []
    (data / 'val/bus').rename(data / 'val/zebra')
    message = data_complaint(cfg, training)
    assert 'has other class folders than train_dataloader.dataset (bus, zebra)' in message
    cfg.model.type = 'ImageToImageRetriever'  # is tested on classes that it has not seen
    assert check_data(cfg, training) == []
    cfg.model.type = 'ImageClassifier'
    if not training:
        shutil.rmtree(data / 'train')  # not on the machine that tests
        assert check_data(cfg, training) == []


def test_only_newlines_end_the_lines_of_a_list(parsed, tmp_path):
    (tmp_path / 'a\x0cb').mkdir()
    (tmp_path / 'a\x0cb/1.png').write_bytes(b'1')
    (tmp_path / 'list.txt').write_text('a\x0cb/1.png 0\n')
    dataset = dict(type='CustomDataset', data_root=str(tmp_path), ann_file='list.txt')
    model = dict(type='ImageClassifier', head=dict(type='LinearClsHead', num_classes=1))
    loader = dict(dataset=dataset)
    cfg = Config(dict(default_scope='mmpretrain', model=model, test_dataloader=loader))
    assert check_data(cfg, training=False) == []


@pytest.mark.parametrize('listed', [True, False])
def test_a_retriever_is_tested_on_more_classes_than_it_was_trained_on(parsed, tmp_path, listed):
    dataset = dict(type='CustomDataset', data_root=str(tmp_path))
    for name in 'ab':
        (tmp_path / name).mkdir()
        (tmp_path / name / '1.png').write_bytes(b'1')
    if listed:
        (tmp_path / 'list.txt').write_text('a/1.png 0\nb/1.png 1\n')
        dataset['ann_file'] = 'list.txt'
    model = dict(type='ImageToImageRetriever', head=dict(type='ArcFaceClsHead', num_classes=1))
    loaders = {f'{split}_dataloader': dict(dataset=dataset) for split in ('train', 'test')}
    cfg = Config(dict(default_scope='mmpretrain', model=model, **loaders))
    assert check_data(cfg, training=False) == []
    assert '1 classes' in data_complaint(cfg) or 'labels are 0..0' in data_complaint(cfg)
    cfg.model.type = 'ImageClassifier'
    assert '1 classes' in data_complaint(cfg, False) or 'are 0..0' in data_complaint(cfg, False)


def test_classes_in_another_order_than_their_folders_are_said(parsed, data):
    cfg = copy.deepcopy(parsed)
    names = sorted(path.name for path in (data / 'val').iterdir())
    cfg.test_dataloader.dataset.update(data_root=str(data), metainfo=dict(classes=names[::-1]))
    (note,) = check_data(cfg, training=False)
    assert 'labels follow the folders sorted by name' in note


def test_folders_against_the_head(parsed):
    cfg = copy.deepcopy(parsed)
    cfg.model.head.num_classes = 7
    assert 'has 10 class folders, but the model knows 7 classes' in data_complaint(cfg)


@pytest.mark.parametrize(
    ('model', 'number'),
    [
        (dict(head=dict(num_classes=3), backbone=dict(num_classes=5)), 3),
        (dict(head=dict(type='ClsHead'), backbone=dict(type='VGG', num_classes=5)), 5),
        (dict(head=dict(type='ClsHead'), backbone=dict(type='VGG', num_classes=-1)), None),
        (dict(type='TimmClassifier', num_classes=4), 4),
        (dict(type='HuggingFaceClassifier', num_labels=4), 4),
        (dict(head=None), None),
    ],
)
def test_how_many_classes_a_model_knows(model, number):
    assert number_of_classes(model) == number


@pytest.mark.parametrize('kind', ['CIFAR100', 'mmpretrain.CIFAR100'])
def test_known_classes_against_the_head(parsed, kind):
    cfg = copy.deepcopy(parsed)
    cfg.test_dataloader.dataset = dict(type=kind, data_root='nowhere', split='test', pipeline=[])
    with pytest.raises(InputError, match='has 100 classes, but'):
        check_settings(cfg, training=False)


def test_a_home_folder(parsed, data, monkeypatch):
    """mmpretrain takes ~ for one."""
    monkeypatch.setenv('HOME', str(data))
    cfg = copy.deepcopy(parsed)
    dataset = cfg.test_dataloader.dataset
    dataset.update(type='CustomDataset', data_root='', data_prefix='~/val')
    dataset.pop('split', None)
    assert check_data(cfg, training=False) == []


@pytest.mark.parametrize('kind', ['Pretrained', 'mmengine.Pretrained', PretrainedInit])
def test_weights_of_any_form(parsed, kind):
    cfg = copy.deepcopy(parsed)
    cfg.model.backbone.init_cfg = dict(type=kind, checkpoint='absent.pth')
    with pytest.raises(InputError, match=r'model.backbone.init_cfg.checkpoint: no such'):
        check_checkpoints(cfg, training=True)


@pytest.mark.parametrize('name', ['.ipynb_checkpoints', '__MACOSX', '@eaDir', 'lost+found'])
def test_folders_that_programs_leave_would_shift_the_labels(parsed, data, name):
    """mmpretrain counts them among the classes: accuracy 0, in silence."""
    (data / 'val' / name).mkdir()
    parsed.test_dataloader.dataset.data_root = str(data)
    said = data_complaint(parsed, training=False)
    assert f'the folder {data}/val/{name} would count as a class' in said


@pytest.mark.parametrize(
    ('own', 'beside', 'said'),
    [
        (dict(mean=[1, 2, 3]), dict(mean=(1, 2, 3), num_classes=9), None),
        (
            dict(mean=[1, 2, 3]),
            dict(mean=[1, 2, 4]),
            'data_preprocessor.mean is [1, 2, 4], but not used',
        ),
        (dict(to_rgb=True), dict(), 'data_preprocessor.to_rgb is None, but not used'),
        (None, dict(to_rgb=True), None),
        (dict(to_rgb=True), None, None),
    ],
)
def test_a_preprocessor_beside_the_model_s_own(parsed, own, beside, said):
    cfg = copy.deepcopy(parsed)
    cfg.model.data_preprocessor, cfg.data_preprocessor = own, beside
    notes = [note for note in check_settings(cfg, training=False) if 'not used' in note]
    assert len(notes) == (said is not None)
    assert said is None or notes[0].startswith(said)


OF_255 = dict(mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4])


@pytest.mark.parametrize(
    ('preprocessor', 'step', 'said'),
    [
        (OF_255, 'torchvision/ToTensor', True),
        (OF_255 | dict(type='ClsDataPreprocessor'), 'torchvision/ToTensor', True),
        (OF_255, 'torchvision/PILToTensor', False),  # of bytes
        (dict(mean=[0.5] * 3, std=[0.2] * 3), 'torchvision/ToTensor', False),
        (dict(to_rgb=True), 'torchvision/ToTensor', False),
        (None, 'torchvision/ToTensor', False),
    ],
)
def test_a_mean_of_bytes_for_values_to_1(parsed, preprocessor, step, said):
    steps = [dict(type='LoadImageFromFile'), dict(type='NumpyToPIL'), dict(type=step)]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        notes = unread_settings('d', dict(type='ImageNet', pipeline=steps), preprocessor)
    assert len(notes) == said
    assert (
        not notes or 'ToTensor in d.pipeline gives 0 to 1: divide mean and std by 255' in notes[0]
    )
