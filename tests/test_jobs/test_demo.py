"""Predictions painted over their own pictures, for every task, and over samples with ground truth."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from fan_mm.datasets.scenes import render_scene, write_cityscapes
from fan_mm.engine.runtime import prepare_runtime
from fan_mm.errors import InputError
from fan_mm.jobs.demo import Predictor, find_images, paint_files, paint_samples, write_image
from fan_mm.report.painters import colours_of

NORMALISE = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
ARCH = dict(embed_dims=32, depth=1, num_heads=2, stem_depths=(1, 1), stem_channels=(16, 24))
BACKBONE = dict(type='FANHybrid', arch=ARCH, norm_cfg=dict(type='BN'))


def segmentation(root='nowhere'):
    return Config(
        dict(
            default_scope='mmseg',
            model=dict(
                type='EncoderDecoder',
                data_preprocessor=dict(
                    type='SegDataPreProcessor', bgr_to_rgb=True, seg_pad_val=255, **NORMALISE
                ),
                backbone=dict(BACKBONE, out_indices=(0, 1, 2, 3)),
                decode_head=dict(
                    type='SegformerHead',
                    in_channels=[16, 24, 32, 32],
                    in_index=[0, 1, 2, 3],
                    channels=16,
                    num_classes=19,
                    norm_cfg=dict(type='BN'),
                ),
                test_cfg=dict(mode='whole'),
            ),
            test_dataloader=dict(
                dataset=dict(
                    type='CityscapesDataset',
                    data_root=str(root),
                    data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='Resize', scale=(96, 64)),
                        dict(type='LoadAnnotations'),
                        dict(type='PackSegInputs'),
                    ],
                )
            ),
        )
    )


def classification():
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='ImageClassifier',
                data_preprocessor=dict(num_classes=3, to_rgb=True, **NORMALISE),
                backbone=dict(BACKBONE, out_type='cls_token'),
                head=dict(type='LinearClsHead', num_classes=3, in_channels=32, topk=(1,)),
            ),
            test_dataloader=dict(
                dataset=dict(
                    type='CustomDataset',
                    metainfo=dict(classes=('cat', 'dog', 'tram')),
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='ResizeEdge', scale=64, edge='short'),
                        dict(type='CenterCrop', crop_size=64),
                        dict(type='PackInputs'),
                    ],
                )
            ),
        )
    )


def detection():
    return Config(
        dict(
            default_scope='mmdet',
            model=dict(
                type='FCOS',
                data_preprocessor=dict(
                    type='DetDataPreprocessor', bgr_to_rgb=True, pad_size_divisor=32, **NORMALISE
                ),
                backbone=dict(BACKBONE, out_indices=(0, 1, 2)),
                neck=dict(type='FPN', in_channels=[16, 24, 32], out_channels=32, num_outs=5),
                bbox_head=dict(
                    type='FCOSHead',
                    num_classes=80,
                    in_channels=32,
                    feat_channels=32,
                    stacked_convs=1,
                    strides=(4, 8, 16, 32, 64),
                    init_cfg=None,
                ),
                test_cfg=dict(
                    nms_pre=100,
                    min_bbox_size=0,
                    score_thr=0.0,
                    nms=dict(type='nms', iou_threshold=0.5),
                    max_per_img=5,
                ),
            ),
            test_dataloader=dict(
                dataset=dict(
                    type='CocoDataset',
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='Resize', scale=(128, 64), keep_ratio=True),
                        dict(type='LoadAnnotations', with_bbox=True),
                        dict(type='PackDetInputs'),
                    ],
                )
            ),
        )
    )


CONFIGS = {'mmseg': segmentation, 'mmpretrain': classification, 'mmdet': detection}


def save_weights(cfg, path, **change):
    """A checkpoint of the model as its random initialisation leaves it."""
    cfg = cfg.copy()
    cfg.pop('test_dataloader')
    prepare_runtime(cfg)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        model.init_weights()
    if hasattr(model, 'bbox_head'):  # as sure as a trained detector, so that boxes are drawn
        torch.nn.init.constant_(model.bbox_head.conv_cls.bias, 2.0)
    torch.save({'state_dict': {**model.state_dict(), **change}, 'meta': {}}, path)
    return str(path)


@pytest.fixture
def folder(tmp_path):
    """Two readable pictures in nested folders, one damaged, one that is no picture at all."""
    folder = tmp_path / 'pictures'
    (folder / 'sub').mkdir(parents=True)
    for name, index in (('a.png', 0), ('sub/b.jpg', 1)):
        cv2.imwrite(str(folder / name), render_scene(80, 160, 0, index).image[..., ::-1])
    (folder / 'broken.png').write_bytes((folder / 'a.png').read_bytes()[:60])
    (folder / 'notes.txt').write_text('no picture')
    return folder


def require(library):
    pytest.importorskip(library)
    if library == 'mmdet':
        pytest.importorskip('mmcv.ops')


@pytest.mark.parametrize('library', CONFIGS)
def test_paints_a_folder_and_names_what_it_cannot_read(library, folder, tmp_path):
    require(library)
    cfg, out = CONFIGS[library](), tmp_path / 'out'
    before = {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}
    checkpoint = save_weights(cfg, tmp_path / 'weights.pth')
    written, left_out = paint_files(cfg, checkpoint, folder, out)
    assert left_out == {folder / 'broken.png': 'cannot be read as an image'}
    assert written == [out / 'a.png', out / 'sub/b.jpg']
    assert sorted(p for p in out.rglob('*') if p.is_file()) == written
    for file in written:
        source = cv2.imread(str(folder / file.relative_to(out)))
        painted = cv2.imread(str(file))
        height = source.shape[0]
        assert painted.shape[1] == source.shape[1]
        if library == 'mmseg':  # a legend below, and paint over the whole picture
            assert painted.shape[0] > height
            assert (painted[:height] != source).any(axis=2).mean() > 0.9
        else:  # something drawn over the picture, most of which stays
            assert painted.shape[0] == height
            difference = np.abs(painted.astype(int) - source).max(axis=2)
            assert 0.01 < (difference > 40).mean() < 0.6
    assert before == {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def test_a_picture_that_is_too_small_is_named_and_the_rest_goes_on(folder, tmp_path):
    require('mmseg')
    cfg = segmentation()
    cfg.test_dataloader.dataset.pipeline[1].keep_ratio = True
    cv2.imwrite(str(folder / 'a0_strip.png'), np.zeros((8, 200, 3), np.uint8))  # becomes 4 rows
    checkpoint = save_weights(cfg, tmp_path / 'weights.pth')
    written, left_out = paint_files(cfg, checkpoint, folder, tmp_path / 'out')
    assert [file.name for file in written] == ['a.png', 'b.jpg']
    assert left_out.keys() == {folder / 'a0_strip.png', folder / 'broken.png'}
    assert 'a token is' in left_out[folder / 'a0_strip.png']


@pytest.mark.parametrize('shape', [(1, 1), (1, 40), (40, 1)])
def test_a_picture_of_one_row_or_column(shape, tmp_path):
    require('mmseg')
    cfg = segmentation()
    cv2.imwrite(str(tmp_path / 'thin.png'), np.zeros((*shape, 3), np.uint8))
    checkpoint = save_weights(cfg, tmp_path / 'weights.pth')
    written, left_out = paint_files(cfg, checkpoint, tmp_path / 'thin.png', tmp_path / 'out')
    assert left_out == {}
    assert cv2.imread(str(written[0])).shape[1] >= shape[1]


def test_preprocessor_beside_the_model_is_used(tmp_path):
    """Where mmpretrain's configs have it, and where a Runner finds it."""
    require('mmpretrain')
    cfg = classification()
    checkpoint = save_weights(cfg, tmp_path / 'weights.pth')
    cfg = classification()
    cfg.data_preprocessor = cfg.model.pop('data_preprocessor')
    preprocessor = Predictor(cfg, checkpoint).model.data_preprocessor
    assert preprocessor.mean.flatten().tolist() == pytest.approx(NORMALISE['mean'])
    assert preprocessor.to_rgb


def test_types_may_be_classes(folder, tmp_path):
    """As mmengine's new style of configs (``read_base``) has them."""
    require('mmseg')
    from mmseg.datasets import CityscapesDataset
    from mmseg.datasets.transforms import LoadAnnotations

    cfg = segmentation()
    checkpoint = save_weights(cfg, tmp_path / 'weights.pth')
    dataset = cfg.test_dataloader.dataset
    dataset.type = CityscapesDataset
    for step in dataset.pipeline:
        if step.type == 'LoadAnnotations':
            step.type = LoadAnnotations
    written, left_out = paint_files(cfg, checkpoint, folder / 'a.png', tmp_path / 'out')
    assert len(written) == 1 and not left_out


def test_segmentation_paints_the_models_own_prediction(folder, tmp_path):
    require('mmseg')
    cfg = segmentation()
    bias = torch.zeros(19)
    bias[13] = 100.0  # everything is car
    checkpoint = save_weights(cfg, tmp_path / 'w.pth', **{'decode_head.conv_seg.bias': bias})
    paint_files(cfg, checkpoint, folder / 'a.png', tmp_path / 'out')
    painted = cv2.imread(str(tmp_path / 'out/a.png'))[..., ::-1]
    source = cv2.imread(str(folder / 'a.png'))[..., ::-1]
    expected = source + 0.55 * (np.array([0, 0, 142]) - source)
    assert np.abs(painted[:80] - expected).max() <= 1


def test_image_ground_truth_and_prediction_side_by_side(tmp_path):
    require('mmseg')
    write_cityscapes(tmp_path / 'toy', (64, 128), 1, 3)
    cfg = segmentation(tmp_path / 'toy')
    checkpoint = save_weights(cfg, tmp_path / 'weights.pth')
    written = paint_samples(cfg, checkpoint, tmp_path / 'out', 2)
    assert [p.name[:5] for p in written] == ['00000', '00001']
    picture = cv2.imread(str(written[0]))[..., ::-1]
    assert picture.shape[1] == 3 * 128 + 2 * 6
    image = render_scene(64, 128, 0, 1_000_000).image
    rows = [y for y in range(40) if np.array_equal(picture[y : y + 64, :128], image)]
    assert len(rows) == 1
    truth = picture[rows[0] : rows[0] + 64, 134:262]
    assert not np.array_equal(truth, image)
    assert not np.array_equal(truth, picture[rows[0] : rows[0] + 64, 268:])
    with pytest.raises(InputError, match='at least one sample is needed, not 0'):
        paint_samples(segmentation(tmp_path / 'toy'), checkpoint, tmp_path / 'none', 0)


@pytest.mark.parametrize(
    ('change', 'line'),
    [
        (
            dict(type='CityscapesDataet', metainfo=dict(classes=['a'])),
            'nothing is registered as Ci',
        ),
        (dict(data_root='nowhere'), r'no such file or folder: nowhere \('),
        (
            dict(data_root='.', data_prefix=dict(img_path='', seg_map_path=''), ann_file=[1]),
            'ann_file is a list, but CityscapesDataset takes one',
        ),
        (dict(pipeline=[dict(type='LoadImageFromFle')]), 'nothing is registered as LoadImageFr'),
    ],
)
def test_a_test_split_that_cannot_be_built_is_one_line(tmp_path, change, line):
    require('mmseg')
    checkpoint = save_weights(segmentation(), tmp_path / 'weights.pth')
    cfg = segmentation()
    cfg.test_dataloader.dataset.update(change)
    with pytest.raises(InputError, match=rf'test_dataloader\.dataset.*{line}'):
        paint_samples(cfg, checkpoint, tmp_path / 'out', 1)


def test_mistakes_are_said_in_one_line(folder, tmp_path):
    require('mmseg')
    cfg = segmentation()
    checkpoint = save_weights(cfg, tmp_path / 'weights.pth')
    with pytest.raises(InputError, match='would overwrite'):
        paint_files(segmentation(), checkpoint, folder, folder)
    with pytest.raises(InputError, match='is a file'):
        paint_files(segmentation(), 'unread.pth', folder, checkpoint)
    with pytest.raises(InputError, match=r'clip\.MP4 is a video: ffmpeg'):
        paint_files(segmentation(), 'unread.pth', folder / 'clip.MP4', tmp_path / 'out')
    with pytest.raises(InputError, match='no such file or folder'):
        paint_files(segmentation(), checkpoint, folder / 'missing', tmp_path / 'out')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='has no images'):
        find_images(tmp_path / 'empty')
    with pytest.raises(InputError, match=r'other\.pth'):
        paint_files(segmentation(), str(tmp_path / 'other.pth'), folder, tmp_path / 'out')
    smaller = segmentation()
    smaller.model.decode_head.channels = 8
    with pytest.raises(InputError, match='does not match the config'):
        paint_files(smaller, checkpoint, folder, tmp_path / 'out')
    foreign = segmentation()
    foreign.default_scope = 'mmpose'
    with pytest.raises(InputError, match="default_scope is 'mmpose'"):
        paint_files(foreign, checkpoint, folder, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_the_paintings_are_no_input_of_the_next_run(folder, tmp_path, monkeypatch):
    before = find_images(folder)
    cv2.imwrite(str(folder / 'sub/c.png'), np.zeros((8, 8, 3), np.uint8))
    assert find_images(folder, folder / 'sub') == before[:2]
    assert find_images(folder / 'sub', folder)  # only what lies below it
    assert find_images(folder, folder) == find_images(folder)  # is refused elsewhere
    monkeypatch.chdir(folder)
    assert [file for file, _ in find_images('.', 'sub')] == [Path('a.png'), Path('broken.png')]


def test_a_picture_that_cannot_be_encoded_is_said(tmp_path):
    with pytest.raises(InputError, match='8x70000 pixels are too many'):
        write_image(tmp_path / 'long.jpg', np.zeros((70000, 8, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_a_colour_for_each_class():
    palette = [(1, 1, 1), (2, 2, 2), (3, 3, 3)]
    assert colours_of(dict(classes='abc', palette=palette)) == palette
    assert colours_of(dict(classes='ab', palette=palette)) == palette[:2]
    assert len(set(colours_of(dict(classes='abcd', palette=palette)))) == 4
    assert len(set(colours_of(dict(classes='ab', palette='random')))) == 2
    assert len(set(colours_of(dict(classes='ab', palette=['red', 'blue'])))) == 2
    assert colours_of(dict(classes=None)) == []


def test_names_of_the_painted_pictures(folder):
    (folder / 'c.tif').write_bytes(b'')
    both = folder / 'both'
    both.mkdir()
    for name in ('d.bmp', 'd.bmp.png', 'e' * 251, 'e.webp'):
        (both / name).touch()
    assert [relative.name for _, relative in find_images(both)] == [
        'd.bmp.2.png',
        'd.bmp.png',
        'e.webp.png',
    ]
    shutil.rmtree(both)
    assert find_images(folder / 'notes.txt') == [(folder / 'notes.txt', Path('notes.txt.png'))]
    assert [str(relative) for _, relative in find_images(folder)] == [
        'a.png',
        'broken.png',
        'c.tif.png',
        'sub/b.jpg',
    ]


def test_no_two_painted_copies_have_one_name(tmp_path):
    names = ['a.bmp', 'a.bmp.png', 'a.png', 'a.webp', f'{"l" * 248}.1.webp', f'{"l" * 248}.2.webp']
    for name in names:
        (tmp_path / name).write_bytes(b'')
    painted = [str(copy) for _, copy in find_images(tmp_path)]
    assert painted[:4] == ['a.bmp.2.png', 'a.bmp.png', 'a.png', 'a.webp.png']
    assert len(set(painted)) == len(names)
    assert all(name.endswith('.png') and len(name) <= 255 for name in painted)


# ----------------------------------------------------------------------------- kinds of pictures


def save_kinds(folder):
    """Pictures of every kind; returns the names of those that can be read."""
    folder.mkdir()
    image = Image.fromarray(render_scene(80, 160, 0, 0).image)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(folder / 'turned.jpg', exif=exif)
    image.convert('L').save(folder / 'grey.png')
    image.convert('P').save(folder / 'palette.PNG')
    image.convert('CMYK').save(folder / 'cmyk.jpg')
    image.convert('RGBA').save(folder / 'alpha.png')
    Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257).save(folder / 'deep.png')
    image.save(folder / 'moving.gif', save_all=True, append_images=[image.rotate(180)])
    for name in ('a.bmp', 'b.webp', 'c.TIFF', f'{"n" * 251}.png', f'{"m" * 251}.bmp'):
        image.save(folder / name)
    image.save(folder / 'd.jfif', 'JPEG')
    image.save(os.path.join(os.fsencode(folder), b'\xff.png'), 'PNG')
    readable = sorted(os.listdir(folder))
    (folder / 'empty.png').touch()
    (folder / 'text.jpg').write_text('text')
    return readable


@pytest.mark.parametrize(
    'loader', [dict(), dict(color_type='color_ignore_orientation'), dict(imdecode_backend='pillow')]
)
def test_every_kind_of_picture_is_painted_as_the_config_loads_it(tmp_path, loader):
    require('mmseg')
    cfg = segmentation()
    cfg.test_dataloader.dataset.pipeline[0].update(loader)
    checkpoint = save_weights(cfg, tmp_path / 'weights.pth')
    readable = save_kinds(tmp_path / 'in')
    written, left_out = paint_files(cfg, checkpoint, tmp_path / 'in', tmp_path / 'out')
    assert {file.name for file in left_out} == {'empty.png', 'text.jpg'}
    assert len(written) == len(readable) == len(set(written))
    for file in written:
        picture = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        upright = file.name == 'turned.jpg' and 'color_type' not in loader
        assert (picture.shape[1] < 160) is upright  # 80, and what its legend needs


def test_what_a_kill_left_goes_with_the_next_run(tmp_path, folder):
    require('mmseg')
    cfg = segmentation()
    checkpoint = save_weights(cfg, tmp_path / 'weights.pth')
    left = tmp_path / 'out/sub/.b.0123456789ab.jpg'
    left.parent.mkdir(parents=True)
    left.touch()
    paint_files(cfg, checkpoint, folder, tmp_path / 'out')
    assert not left.exists()


@pytest.mark.parametrize('damage', ['image', 'label', 'label gone'])
def test_a_sample_that_cannot_be_loaded_is_one_line_with_the_file(tmp_path, damage):
    require('mmseg')
    write_cityscapes(tmp_path / 'toy', (64, 128), 1, 1)
    kind = 'leftImg8bit' if damage == 'image' else 'gtFine'
    names = (tmp_path / 'toy' / kind).glob('val/*/*')
    file = next(f for f in names if f.name.endswith(('leftImg8bit.png', 'labelTrainIds.png')))
    file.write_text('text')
    if damage == 'label gone':
        file.unlink()
    cfg = segmentation(tmp_path / 'toy')
    checkpoint = save_weights(cfg, tmp_path / 'weights.pth')
    with pytest.raises(InputError, match=f'cannot load .*{file.name}: ') as error:
        paint_samples(cfg, checkpoint, tmp_path / 'out', 1)
    assert '\n' not in str(error.value)
