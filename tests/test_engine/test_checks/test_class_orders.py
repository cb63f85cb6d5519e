"""Classes at other positions than in training are refused, or said."""

import pytest
from mmengine.registry import DefaultScope

from fan_mm.engine.checks.class_orders import (
    check_same_classes,
    metainfo_in,
    names_in,
    other_order,
)
from fan_mm.errors import InputError

NAMES = ('cat', 'dog', 'bird')
TURNED = ('dog', 'cat', 'bird')


def check(library, kind, training, *evaluation):
    pytest.importorskip(f'{library}.datasets')

    def configs(name, several):
        return {
            f'{name}.{index}': dict(type=kind, metainfo=dict(classes=classes) if classes else {})
            for index, classes in enumerate(several)
        }

    with DefaultScope.overwrite_default_scope(library):
        return check_same_classes(configs('train', training), configs('test', evaluation))


@pytest.mark.parametrize(
    ('library', 'kind', 'names'),
    [
        ('mmdet', 'VOCDataset', NAMES),
        ('mmdet', 'CocoDataset', NAMES),
        ('mmseg', 'CityscapesDataset', ('road', 'car', 'sky')),  # its labels are mapped by name
    ],
)
def test_labels_that_follow_the_names(library, kind, names):
    turned = (names[1], names[0], names[2])
    assert check(library, kind, [names], names) == []
    assert check(library, kind, [names, turned], turned) == []  # learnt both ways, as is
    with pytest.raises(
        InputError, match=rf"^test\.1 has class '{names[1]}' at position 0, train\.0 at 1"
    ):
        check(library, kind, [names], names, turned)


def test_labels_that_lie_in_files(tmp_path):
    """Only the names are exchanged then."""
    for library, kind in (('mmseg', 'BaseSegDataset'), ('mmpretrain', 'CustomDataset')):
        (note,) = check(library, kind, [NAMES], TURNED)
        assert note.startswith("test.0 has class 'dog' at position 0, train.0 at 1")
    file = tmp_path / 'names.txt'
    file.write_text('\n'.join(TURNED))
    assert len(check('mmseg', 'BaseSegDataset', [NAMES], str(file))) == 1


def test_two_classes_of_one_name():
    """As ImageNet's two cranes."""
    twice = ('crane', 'dog', 'crane')
    assert check('mmpretrain', 'CustomDataset', [twice], twice) == []
    assert (
        other_order({'meta': {'dataset_meta': {'classes': twice}}}, 'a', {'classes': twice}) == []
    )
    assert len(check('mmpretrain', 'CustomDataset', [twice], ('dog', 'crane', 'crane'))) == 1


def test_a_part_of_the_classes_is_said_only():
    assert len(check('mmdet', 'VOCDataset', [NAMES], ('dog', 'fish'))) == 1
    assert check('mmdet', 'VOCDataset', [NAMES], ('cat', 'fish')) == []


def test_what_is_not_known_is_left_alone():
    assert check('mmdet', 'VOCDataset', [], NAMES) == []
    assert check('mmseg', 'BaseSegDataset', [None], NAMES) == []
    assert check('mmseg', 'BaseSegDataset', [NAMES], None) == []


@pytest.mark.parametrize(
    'form',
    [lambda names: dict(dataset_meta=dict(classes=names)), lambda names: dict(CLASSES=names)],
)
def test_classes_that_a_checkpoint_names(form):
    content = dict(meta=form(list(NAMES)))
    assert names_in(content) == NAMES
    for metainfo in (
        dict(classes=NAMES),
        dict(classes=('cat',)),
        dict(classes=('a', 'b')),
        {},
        [{}],
    ):
        assert other_order(content, 'a.pth', metainfo) == []
    (line,) = other_order(content, 'a.pth', dict(classes=TURNED))
    assert line.startswith(
        "a.pth was trained with class 'dog' at position 1, but the test dataset has it at 0"
    )
    assert len(other_order(content, 'a.pth', dict(classes=('void', *NAMES)))) == 1


def test_what_a_checkpoint_says_of_its_dataset():
    mine = dict(classes=NAMES, palette=[[0, 0, 0]])
    assert metainfo_in(dict(meta=dict(dataset_meta=mine, CLASSES=('other',)))) == mine
    old = dict(CLASSES=NAMES, PALETTE=None, mmcv_version='1.7.0')
    assert metainfo_in(dict(meta=old)) == dict(classes=NAMES)
    several = [dict(classes=NAMES), dict(classes=TURNED)]  # of mmdet's ConcatDataset
    assert metainfo_in(dict(meta=dict(dataset_meta=several))) == {}


@pytest.mark.parametrize(
    'content',
    [None, {}, dict(meta=None), dict(meta={}), dict(meta=dict(dataset_meta=dict(classes='ab')))],
)
def test_checkpoints_that_name_no_classes(content):
    assert names_in(content) is None
    assert other_order(content, 'a.pth', dict(classes=NAMES)) == []
