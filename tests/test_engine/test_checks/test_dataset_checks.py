"""A dataset's own mistakes are one line with its place; unusual classes are no mistake."""

from contextlib import nullcontext

import pytest
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, DefaultScope

from fan_mm.engine.checks.datasets import (
    _refuse_several,
    build_lazily,
    check_dataset,
    check_names,
    chosen,
    classes_of,
    unread_settings,
)
from fan_mm.engine.config_checks import check_groups
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError

pytest.importorskip('mmseg')


@pytest.fixture(autouse=True)
def mmseg_scope():
    register_task_library(Config(dict(default_scope='mmseg')))
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@DATASETS.register_module()
class Unlazy:
    """A dataset that knows no pipeline and reads at once."""

    def __init__(self, numbers):
        self.numbers = [1 / number for number in numbers]


@DATASETS.register_module()
class NeedsItsPipeline(BaseDataset):
    """A dataset that cannot be built without transforms."""

    def __init__(self, pipeline, **kwargs):
        assert pipeline, 'no transforms'
        super().__init__(pipeline=pipeline, **kwargs)

    def load_data_list(self):
        return [dict(img_path='a')]


class ScalesToOne:
    """A transform or a data preprocessor of the user's own."""


CITY = dict(type='CityscapesDataset', data_root='nowhere')


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (
            dict(metainfo=dict(classes=('road', 'skie'))),
            'CityscapesDataset says ValueError: new classes',
        ),
        (dict(img_sufix='.png'), "says TypeError: .*unexpected keyword argument 'img_sufix'"),
        (dict(data_prefix=dict(img_path=3)), 'says TypeError'),
        (
            dict(type='NeedsItsPipeline', pipeline=[]),
            'NeedsItsPipeline says AssertionError: no transforms',
        ),
    ],
)
def test_its_own_mistakes(change, words):
    with pytest.raises(InputError, match=f'^val_dataloader.dataset: .*{words}') as error:
        build_lazily('val_dataloader.dataset', CITY | change)
    assert '\n' not in str(error.value)


def test_classes_that_cannot_be_built_lazily_are_left_alone():
    assert build_lazily('d', dict(type='Unlazy', numbers=[0])) is None
    step = dict(type='LoadImageFromFile')
    assert build_lazily('d', dict(type='NeedsItsPipeline', pipeline=[step])) is None
    assert build_lazily('d', dict(type='RepeatDataset')) is None


def test_good_datasets_are_built_without_being_read():
    built = build_lazily('d', CITY)
    assert type(built).__name__ == 'CityscapesDataset' and not built._fully_initialized
    assert type(build_lazily('d', CITY | dict(type=type(built)))) is type(built)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (dict(type='CityscapesDatset'), 'did you mean CityscapesDataset'),
        (dict(type=None), 'd has no type'),
        (dict(type='mmseg.Nope'), 'nothing is registered as mmseg.Nope'),
        (dict(type='no.such.Thing'), 'nothing is registered as no.such.Thing'),
        (
            dict(metainfo=dict(classes='road')),
            "is the text 'road': it must be a list, such as .'road'.",
        ),
        (dict(metainfo=dict(CLASSES=['road'])), 'CLASSES is not used; write classes'),
        (
            dict(pipeline=[dict(type='LoadImageFromFil')]),
            'transform 1: .*did you mean LoadImageFromFile',
        ),
        (
            dict(pipeline=[dict(type='RandomChoice', transforms=[[dict(type='Nope')]])]),
            'transform 2: nothing is registered as Nope',
        ),
    ],
)
def test_names_that_nobody_has(change, words):
    with pytest.raises(InputError, match=words):
        check_names('d', CITY | change)


def test_names_in_any_form(tmp_path):
    from mmcv.transforms import LoadImageFromFile
    from mmseg.datasets import CityscapesDataset

    file = tmp_path / 'classes.txt'
    file.write_text('road\nsky\n')
    pipeline = [
        dict(type=LoadImageFromFile),
        LoadImageFromFile(),
        dict(type='mmseg.LoadAnnotations'),
    ]
    pipeline += [dict(type='Albu', transforms=[dict(type='RandomBrightnessContrast')])]
    metainfo = dict(classes=str(file))
    check_names('d', dict(type=CityscapesDataset, pipeline=pipeline, metainfo=metainfo))
    check_names('d', dict(type='LoadAnnotations', _scope_='mmseg') | CITY)
    assert len(classes_of('d', dict(type=CityscapesDataset))) == 19
    assert classes_of('d', dict(type=CityscapesDataset, metainfo=metainfo)) == ('road', 'sky')


@pytest.mark.parametrize(
    ('content', 'line'),
    [('cat\ndog\n\n', 3), ('cat\r\ndog\r\n \r\n', 3), ('cat\n\ndog\n', 2), ('cat\ndog\n', None)],
)
def test_an_empty_line_is_no_class(tmp_path, content, line):
    pytest.importorskip('mmseg.datasets')
    file = tmp_path / 'classes.txt'
    file.write_bytes(content.encode())
    dataset = dict(type='mmseg.BaseSegDataset', metainfo=dict(classes=str(file)))
    if line is None:
        assert classes_of('d', dataset) == ('cat', 'dog')
        return
    with pytest.raises(InputError, match=rf'^d: line {line} of .*classes\.txt is empty'):
        classes_of('d', dataset)


@pytest.mark.parametrize('form', ['argument', 'file', 'metainfo'])
def test_classes_of_mmpretrain_in_any_form(tmp_path, form):
    datasets = pytest.importorskip('mmpretrain.datasets')
    file = tmp_path / 'classes.txt'
    file.write_text('cat\ndog\n')
    options = dict(
        argument=dict(classes=['cat', 'dog']),
        file=dict(classes=str(file)),
        metainfo=dict(classes=['a', 'b'], metainfo=dict(classes=['cat', 'dog'])),
    )[form]
    dataset = datasets.ImageNet(lazy_init=True, ann_file='val.txt', data_root='', **options)
    assert classes_of('d', dict(type='mmpretrain.ImageNet', **options)) == ('cat', 'dog')
    assert tuple(dataset.CLASSES) == ('cat', 'dog')


@pytest.mark.parametrize(
    'change',
    [
        dict(data_root='s3://bucket/data'),
        dict(backend_args=dict(backend='petrel')),
        dict(file_client_args=dict(backend='petrel')),
        dict(data_root='', data_prefix=dict(img_path='http://host/a')),
    ],
)
def test_what_is_not_on_this_machine_is_not_looked_for(change):
    assert not check_dataset('d', CITY | change)


@pytest.mark.parametrize('backend', ['local', None])
def test_what_is(tmp_path, backend):
    args = dict(backend=backend) if backend else None
    with pytest.raises(InputError, match='no such file or folder: nowhere'):
        check_dataset('d', CITY | dict(backend_args=args))
    assert check_dataset('d', CITY | dict(backend_args=args, data_root=str(tmp_path)))
    with pytest.raises(InputError, match=r'\(use --cfg-options d.data_root=FOLDER\)'):
        check_dataset('d', CITY | dict(data_root='', ann_file='no.txt'))


@pytest.mark.parametrize('scope', ['mmengine', None])
def test_a_scope_that_is_of_no_task(scope):
    with DefaultScope.overwrite_default_scope(scope) if scope else nullcontext():
        if scope is None:
            DefaultScope._instance_dict.clear()
        with pytest.raises(InputError, match='the config has no default_scope of a task'):
            check_names('d', dict(type='ADE20KDatasett'))


@pytest.mark.parametrize(
    'change',
    [
        dict(data_root=['a', 'b']),
        dict(ann_file=['a.txt', 'b.txt']),
        dict(data_prefix=dict(img_path=('a', 'b'))),
    ],
)
def test_lists_where_mmengine_takes_one_path(change):
    (key,) = change
    with pytest.raises(
        InputError, match=rf'^d\.{key}[.\w]* is a list, but CityscapesDataset takes'
    ):
        check_dataset('d', CITY | change)


@pytest.mark.parametrize(
    ('prefix', 'words'),
    [
        ('leftImg8bit/val', r"text 'leftImg8bit/val', .* a dict, such as dict\(img_path='leftImg8bit/val'\)"),
        (dict(img='a', seg='b'), 'has img, seg, but CityscapesDataset takes img_path and seg_map_path'),
    ],
)  # fmt: skip
def test_folders_as_other_libraries_take_them(prefix, words):
    with pytest.raises(InputError, match=rf'^d\.data_prefix (is the )?{words}$'):
        check_dataset('d', CITY | dict(data_prefix=prefix))


def test_folders_that_other_datasets_take():
    class OfDepths(DATASETS.get('mmseg.BaseSegDataset')):
        def load_data_list(self):
            raise NotImplementedError

    textvqa = pytest.importorskip('mmpretrain.datasets.textvqa')
    _refuse_several('d', dict(data_prefix='images'), textvqa.TextVQA)
    _refuse_several('d', dict(data_prefix=dict(rgb='a', depth='b')), OfDepths)


@DATASETS.register_module()
class TakesSeveral(BaseDataset):
    """A dataset of one's own that joins its files itself."""

    def _join_prefix(self):
        pass


@DATASETS.register_module()
class ReadsSeveral(BaseDataset):
    """Another, which leaves mmengine none to join."""

    def __init__(self, ann_file, **options):
        super().__init__(**options)


@pytest.mark.parametrize('kind', ['TakesSeveral', 'ReadsSeveral'])
def test_lists_that_a_class_of_ones_own_takes(kind, tmp_path):
    assert check_dataset('d', dict(type=kind, ann_file=['a', 'b'], data_root=str(tmp_path)))


LOAD = dict(type='LoadImageFromFile')
OF_1 = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
NORMALIZE = dict(type='Normalize', mean=[1], std=[1])


@pytest.mark.parametrize(
    ('dataset', 'preprocessor', 'words'),
    [
        (CITY, dict(mean=[1.0]), None),
        (CITY | dict(pipeline=[NORMALIZE]), dict(mean=[1.0]), 'images are normalised twice'),
        (CITY | dict(pipeline=[dict(type='torchvision/Normalize')]), dict(mean=[1]), 'twice'),
        (CITY | dict(pipeline=[NORMALIZE]), dict(mean=None), None),
        (CITY | dict(pipeline=[NORMALIZE]), dict(mean=[0.0], std=[1.0]), None),
        (CITY | dict(pipeline=[NORMALIZE]), dict(mean=[0.0], std=[255.0]), 'twice'),
        (CITY | dict(pipeline=[NORMALIZE]), None, None),
        (CITY | dict(metainfo=dict(label_map={0: 1})), None, 'label_map is not used'),
        (dict(type='Unlazy', metainfo=dict(label_map={0: 1})), None, None),
        (CITY | dict(pipeline=[LOAD]), OF_1, 'gives 0 to 255: multiply both by 255'),
        (CITY | dict(pipeline=[LOAD]), dict(mean=[0.0], std=[1.0]), None),
        (CITY | dict(pipeline=[LOAD]), dict(mean=[0.5], std=[255.0]), None),
        (CITY | dict(pipeline=[LOAD]), dict(mean=[0.5]), None),
        (CITY | dict(pipeline=[LOAD | dict(imdecode_backend='tifffile')]), OF_1, None),
        (CITY | dict(pipeline=[LOAD | dict(color_type='unchanged')]), OF_1, None),
        (CITY | dict(pipeline=[dict(type='ReadsReflectance')]), OF_1, None),
        (CITY | dict(pipeline=[LOAD, dict(type='torchvision/ToTensor')]), OF_1, None),
        (CITY | dict(pipeline=[LOAD, dict(type=ScalesToOne)]), OF_1, None),
        (CITY | dict(pipeline=[LOAD, dict(type='Albu', transforms=[])]), OF_1, None),
        (CITY | dict(pipeline=[LOAD]), OF_1 | dict(type='SegDataPreProcessor'), 'multiply both'),
        (CITY | dict(pipeline=[LOAD]), OF_1 | dict(type=ScalesToOne), None),
    ],
)
def test_settings_that_are_not_read_or_done_twice(dataset, preprocessor, words):
    notes = unread_settings('d', dataset, preprocessor)
    assert len(notes) == (words is not None)
    assert words is None or words in notes[0]


GROUPS = dict(
    train_dataloader=dict(dataset={}, sampler=None),
    train_cfg={},
    optim_wrapper={},
    test_dataloader=dict(dataset={}, sampler=None),
    test_cfg={},
    test_evaluator=[],
)


@pytest.mark.parametrize(('training', 'key'), [(True, 'optim_wrapper'), (False, 'test_cfg')])
def test_what_a_runner_needs(training, key):
    check_groups(Config(GROUPS), training)
    with pytest.raises(InputError, match=f'the config has no {key}'):
        check_groups(Config({k: v for k, v in GROUPS.items() if k != key}), training)
    with pytest.raises(InputError, match='no val_cfg: to validate, mmengine needs'):
        check_groups(Config(GROUPS | dict(val_dataloader={}, val_evaluator={})), training)
    split, other = ('train', 'test') if training else ('test', 'train')
    with pytest.raises(InputError, match=f'{split}_dataloader has no sampler'):
        check_groups(Config(GROUPS | {f'{split}_dataloader': dict(dataset={})}), training)
    check_groups(Config(GROUPS | {f'{other}_dataloader': dict(dataset={})}), training)  # not built
    without = {k: v for k, v in GROUPS.items() if k not in _parts_of(split)}
    with pytest.raises(InputError, match=f'no {split}_dataloader'):
        check_groups(Config(without), training)
    check_groups(Config(without), not training)


def _parts_of(split):
    return {f'{split}_{part}' for part in ('dataloader', 'cfg', 'evaluator')} | (
        {'optim_wrapper'} if split == 'train' else set()
    )


class Five(BaseDataset):
    """Of five samples."""

    def load_data_list(self):
        return [dict(number=number) for number in range(5)]


@pytest.mark.parametrize('indices', [None, 2, 9, -2, [0, 3], (-1, 1)])
def test_the_samples_that_mmengine_keeps(indices):
    kept = Five(indices=indices)
    assert chosen(list(range(5)), indices) == [
        kept.get_data_info(index)['number'] for index in range(len(kept))
    ]


def test_samples_that_are_not_there_are_left_to_mmengine():
    assert chosen(['a', 'b'], [5, 1, -2, -3]) == ['b', 'a']
