"""Pictures of clusters and of segmentation: the right panels, in the right colours."""

import errno
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from PIL import Image

from fan_mm.analysis.cluster_pictures import PALETTE, draw_clusters, match_panels
from fan_mm.analysis.clustering import Clusters
from fan_mm.analysis.segmentation import (
    LOST,
    NEVER,
    Segmentor,
    draw_segmentation,
    paint_errors,
    write_segmentation,
    write_video,
)
from fan_mm.analysis.subject import (
    Subject,
    corrupt_picture,
    distinct,
    enlarge,
    file_stem,
    load_pictures,
    parse_models,
)
from fan_mm.corruptions import corrupt, seed_for
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError
from fan_mm.models import FANViT


def test_panels_of_one_image_share_their_labels():
    halves = np.repeat([[0, 0, 1, 1]], 4, axis=0)
    rows = [[1 - halves, halves], [halves, 1 - halves]]
    for row in match_panels(rows):
        for labels in row:
            np.testing.assert_array_equal(labels, halves)


def test_a_row_per_block_and_a_column_per_condition():
    grey = np.full((224, 224, 3), 128, np.uint8)
    halves = np.repeat([[0, 0, 1, 1]], 4, axis=0)
    found = {
        'blocks.3': Clusters(halves, np.ones(3)),
        'blocks.4': Clusters(halves.T, np.ones(3)),
    }
    picture = draw_clusters({'clean': grey, 'Snow 3': grey}, {'clean': found, 'Snow 3': found})
    head = picture.shape[0] // 3 - 224
    assert picture.shape == (3 * (224 + head), 2 * 224 + 6, 3)
    panel = picture[224 + 2 * head :, :224][:224]
    colours = [tuple(panel[100, x]) for x in (20, 200)]
    expected = [tuple(round(0.6 * c + 0.4 * 128) for c in PALETTE[i]) for i in (0, 1)]
    assert {colours[0], colours[1]} == set(expected)
    second = picture[2 * (224 + head) + head :, 230:]
    assert tuple(second[20, 100]) != tuple(second[200, 100])
    for row in range(3):  # every panel has its title, and none runs into its border
        for left in (0, 230):
            title = picture[row * (224 + head) :][:head, left : left + 224]
            assert title.min() < 100
            assert title[:, -3:].min() == 255


def test_colours_of_clusters_are_strong_and_then_light():
    assert len(set(PALETTE)) == 20
    assert PALETTE[0] == (31, 119, 180) and PALETTE[10] == (174, 199, 232)  # blue, light blue


def test_errors_by_their_cause():
    image = np.full((2, 3, 3), 90, np.uint8)
    truth = np.array([[0, 0, 0], [1, 1, 255]])
    clean = np.array([[0, 0, 1], [1, 0, 0]])
    corrupted = np.array([[0, 1, 1], [1, 1, 1]])
    picture, share = paint_errors(image, clean, corrupted, truth)
    assert share == pytest.approx(2 / 5)
    assert tuple(picture[0, 1]) == LOST
    assert tuple(picture[0, 2]) == NEVER
    grey = [tuple(picture[p]) for p in ((0, 0), (1, 0), (1, 1), (1, 2))]
    assert grey == [(173, 173, 173)] * 4
    changed, share = paint_errors(image, clean, corrupted, None)
    assert share == pytest.approx(3 / 6)
    assert tuple(changed[1, 2]) == LOST


@pytest.mark.parametrize('suffix', ['gif', 'mp4', 'avi'])
def test_videos(tmp_path, suffix):
    colours = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
    frames = [np.full((41, 67, 3), colour, np.uint8) for colour in colours]
    file = tmp_path / f'clip.{suffix}'
    write_video(frames, file, 5)
    if suffix == 'gif':
        clip = Image.open(file)
        seen = []
        for i in range(clip.n_frames):
            clip.seek(i)
            seen.append(np.asarray(clip.convert('RGB'))[20, 30])
        assert clip.info['duration'] == 200
    else:
        clip = cv2.VideoCapture(str(file))
        seen = [clip.read()[1][20, 30, ::-1] for _ in range(3)]
        assert clip.get(cv2.CAP_PROP_FPS) == pytest.approx(5)
        assert not clip.read()[0]
    np.testing.assert_allclose(seen, colours, atol=20)


def test_videos_of_other_kinds(tmp_path):
    with pytest.raises(InputError, match=r'\.mp4, \.avi, \.gif'):
        write_video([], tmp_path / 'clip.webm', 5)
    for fps in (0, -1, float('nan'), float('inf')):
        with pytest.raises(InputError, match='more than 0 frames per second'):
            write_video([], tmp_path / 'clip.gif', fps)
    # before anything is painted
    with pytest.raises(InputError, match=r'\.mp4, \.avi, \.gif'):
        next(write_segmentation([], tmp_path, ('fog', 3), tmp_path, video=tmp_path / 'clip.webm'))


@pytest.mark.parametrize('suffix', ['gif', 'mp4', 'avi'])
def test_a_video_loses_no_frame_of_another_size(tmp_path, suffix):
    frames = [np.zeros((64, height, 3), np.uint8) for height in (64, 64, 80)]
    with pytest.raises(InputError, match='64x64 and 80x64 pixels'):
        write_video(frames, tmp_path / f'clip.{suffix}', 5)
    assert list(tmp_path.iterdir()) == []


def test_a_video_in_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(errno.EACCES, 'Permission denied', str(path))

    monkeypatch.setattr(Path, 'touch', refuse)
    with pytest.raises(PermissionError):
        write_video([np.zeros((64, 64, 3), np.uint8)], tmp_path / 'clip.avi', 5)


@pytest.mark.parametrize(
    ('pairs', 'names'),
    [
        (['a.py x.pth', 'c/b.py x.pth'], ['a', 'b']),
        (['a.py x.pth', 'a.py y.pth', 'b.py x.pth'], ['a (x)', 'a (y)', 'b']),
        # of two trainings with one config, and of two configs of one name
        (
            ['a.py 1/best.pth', 'a.py 2/best.pth', 'a.py z.pth'],
            ['a (1/best)', 'a (2/best)', 'a (z)'],
        ),
        (['1/a.py x.pth', '2/a.py x.pth'], ['a (x)', 'a (x)_2']),
        (['a.py v/1/x.pth', 'a.py w/1/x.pth'], ['a (1/x)', 'a (1/x)_2']),
    ],
)
def test_no_two_models_have_one_name(pairs, names):
    """Curves are drawn, and rows are written, by the names."""
    found = parse_models([part for pair in pairs for part in pair.split()])
    assert [f'{config} {checkpoint}' for config, checkpoint, _ in found] == pairs
    assert [name for *_, name in found] == names


@pytest.mark.parametrize('arguments', [[], ['a.py'], ['a.py', 'x.pth', 'a.py', 'x.pth']])
def test_models_that_are_no_pairs_or_one_twice(arguments):
    with pytest.raises(InputError, match='CONFIG CHECKPOINT'):
        parse_models(arguments)


def test_reading_pictures(tmp_path):
    for i in range(5):
        cv2.imwrite(str(tmp_path / f'{i}.png'), np.full((20, 30, 3), (40 * i, 0, 255), np.uint8))
    pictures = load_pictures([tmp_path], (64, 48), 2)
    assert list(pictures) == [tmp_path / '0.png', tmp_path / '2.png']
    assert pictures[tmp_path / '2.png'].shape == (64, 48, 3)
    assert tuple(pictures[tmp_path / '2.png'][5, 5]) == (255, 0, 80)  # RGB
    with pytest.raises(InputError, match='at least one sample is needed, not 0'):
        load_pictures([tmp_path], (64, 48), 0)
    (tmp_path / '9.png').write_bytes(b'not a picture')
    with pytest.raises(InputError, match='cannot be read as an image'):
        load_pictures([tmp_path / '9.png'], (64, 48))
    (tmp_path / 'few').mkdir()
    (tmp_path / 'few' / '0.png').write_bytes(b'not a picture')
    with pytest.raises(InputError, match=r'few/0\.png cannot be read as an image'):
        load_pictures([tmp_path / 'few'], (64, 48))
    (tmp_path / '0.png').rename(tmp_path / 'few' / '1.png')
    assert list(load_pictures([tmp_path / 'few'], (64, 48))) == [tmp_path / 'few' / '1.png']
    (tmp_path / 'few' / '1.png').rename(tmp_path / '0.png')
    (tmp_path / 'few' / '0.png').unlink()
    assert enlarge(np.zeros((100, 300, 3), np.uint8)).shape == (300, 900, 3)
    assert len(load_pictures([tmp_path], (64, 48))) == 5  # the rest of a folder goes on
    for i in range(5):
        (tmp_path / f'{i}.png').write_bytes(b'')
    with pytest.raises(InputError, match='none of 6 files'):
        load_pictures([tmp_path], (64, 48))


class Painter:
    """As much of a Segmentor as is needed: labels of the size of the picture that it loads."""

    name, loader = 'model', None

    def __init__(self, turn=False, classes='ab', colour=(1, 2, 3)):
        self.turn = turn
        metainfo = dict(classes=tuple(classes), palette=[colour] * len(classes))
        self.predictor = type('', (), dict(metainfo=metainfo))

    def __call__(self, file):
        labels = np.zeros(cv2.imread(str(file)).shape[:2], int)
        return (labels.T, labels.T) if self.turn else (labels, labels)


def test_what_cannot_be_drawn_is_left_out_and_named(tmp_path):
    folder, out = tmp_path / 'in', tmp_path / 'out'
    for name in ('0.png', '2.png', f'{"n" * 251}.png'):
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((40, 60, 3), 90, np.uint8))
    cv2.imwrite(str(folder / '1.png'), np.zeros((1, 1, 3), np.uint8))
    (folder / '3.png').touch()
    left_out = {}
    written = list(write_segmentation([Painter()], out, ('fog', 3), folder, left_out=left_out))
    assert len(written) == 3 and sorted(out.iterdir()) == sorted(written)
    assert left_out.keys() == {folder / '1.png', folder / '3.png'}
    assert '1 x 1' in left_out[folder / '1.png'] or '32' in left_out[folder / '1.png']
    for name in ('1.png', '3.png'):
        with pytest.raises(InputError, match=f'{name}'):
            list(write_segmentation([Painter()], out, ('fog', 3), folder / name))
    with pytest.raises(InputError, match='60x40 pixels, but model reads 40x60'):
        list(write_segmentation([Painter(turn=True)], out, ('fog', 3), folder / '0.png'))


def test_the_ground_truth_is_for_models_of_its_classes(tmp_path):
    same, other = Painter(classes=('a_b', 'C')), Painter(classes=('c', 'a b'))
    for first, second in ((same, other), (other, same)):
        with pytest.raises(InputError, match=r'model has other classes than model.* --images'):
            next(write_segmentation([first, second], tmp_path, ('fog', 3)))
    # of the same, in other words, what fails is that this one has no ground truth
    for words in (('A b', 'c'), ('synonym', 'c')):
        with pytest.raises(AttributeError, match='ground_truths'):
            next(write_segmentation([same, Painter(classes=words)], tmp_path, ('fog', 3)))
    for words in (('x', 'y'), ('a b', 'c', 'd')):
        with pytest.raises(InputError, match='has other classes'):
            next(write_segmentation([same, Painter(classes=words)], tmp_path, ('fog', 3)))


def test_every_class_is_explained_in_its_models_colour(tmp_path):
    cv2.imwrite(str(tmp_path / '0.png'), np.full((224, 224, 3), 90, np.uint8))
    red, green = Painter(colour=(250, 0, 0)), Painter(colour=(0, 250, 0))

    def drawn(*segmentors):
        return draw_segmentation(tmp_path / '0.png', segmentors, ('fog', 3))

    def rows_with(picture, colour):
        return np.flatnonzero((picture == colour).all(-1).any(1))

    both, alike = drawn(red, green), drawn(red, red)
    assert len(rows_with(both, (250, 0, 0))) == len(rows_with(both, (0, 250, 0))) > 5
    assert rows_with(both, (250, 0, 0)).max() < rows_with(both, (0, 250, 0)).min()
    assert len(rows_with(alike, (250, 0, 0))) == len(rows_with(both, (250, 0, 0)))  # one legend


def test_the_picture_is_shown_as_the_first_model_loads_it(tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / '0.png'), np.zeros((224, 224, 3), np.uint8))
    greys = {'first': 90, 'second': 200}
    monkeypatch.setattr(
        'fan_mm.analysis.segmentation.load_picture',
        lambda loader, _: np.full((224, 224, 3), greys[loader], np.uint8),
    )
    models = [Painter(), Painter()]
    for model, loader in zip(models, greys, strict=True):
        model.loader = loader
    picture = draw_segmentation(tmp_path / '0.png', models, ('fog', 3))
    assert (picture == 90).all(-1).sum() >= 224 * 224


def test_no_picture_replaces_another(tmp_path):
    """Frames of two cameras have the same folder's and files' names; so have x.jpg and x.png."""
    names = ['a/frames/0.png', 'b/frames/0.png', 'b/frames/x.jpg', 'b/frames/x.png']
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.zeros((20, 30, 3), np.uint8))
    assert list(load_pictures([tmp_path], (64, 48))) == [tmp_path / name for name in names]
    stems = list(distinct(map(file_stem, names)))
    assert stems == ['frames_0', 'frames_0_2', 'frames_x', 'frames_x_2']
    assert list(distinct(['a', 'a_2', 'a', 'a'])) == ['a', 'a_2', 'a_3', 'a_4']


@pytest.mark.parametrize('path', ['street.png', './street.png', '../street.png', '/street.png'])
def test_paths_that_name_no_folder(path):
    assert file_stem(path) == 'street'
    assert file_stem(Path(path)) == 'street'
    assert file_stem(f'town/{path}'.replace('../', '')) == 'town_street'


def test_pictures_are_corrupted_as_the_benchmark_does():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    expected = corrupt(image, 'fog', 2, seed=seed_for(7, 'town/1.x', 'fog', 2))
    np.testing.assert_array_equal(corrupt_picture(image, 'a/town/1.x.png', 'fog', 2, 7), expected)


ARCH = dict(embed_dims=16, depth=2, num_heads=2)


def classifier(**changes):
    pytest.importorskip('mmpretrain')
    return Config(
        dict(
            default_scope='mmpretrain',
            data_preprocessor=dict(
                num_classes=3, to_rgb=True, mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0]
            ),
            model=dict(
                type='ImageClassifier',
                backbone=dict(type='FANViT', arch=dict(ARCH), out_type='cls_token'),
                head=dict(type='LinearClsHead', num_classes=3, in_channels=16),
            ),
            **changes,
        )
    )


def test_the_subject_sees_what_its_model_sees(tmp_path):
    torch.manual_seed(0)
    source = FANViT(dict(ARCH), out_type='cls_token')
    torch.save({f'backbone.{k}': v for k, v in source.state_dict().items()}, tmp_path / 'w.pth')
    subject = Subject(classifier(), str(tmp_path / 'w.pth'))
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    inputs = subject.prepare(image)
    expected = (image - np.array([100.0, 110.0, 120.0])) / np.array([50.0, 60.0, 70.0])
    np.testing.assert_allclose(inputs[0].permute(1, 2, 0), expected, rtol=1e-5, atol=1e-5)
    model = MODELS.build(dict(type='FANViT', arch=dict(ARCH), out_type='cls_token')).eval()
    model.load_state_dict(source.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(subject.backbone(inputs), model(inputs))


def test_weights_that_do_not_fit_are_refused(tmp_path):
    other = FANViT(dict(ARCH, depth=3), out_type='cls_token')
    torch.save(dict(state_dict=other.state_dict()), tmp_path / 'other.pth')
    with pytest.raises(InputError, match='is a FANViT'):
        Subject(classifier(), str(tmp_path / 'other.pth'))
    cfg = classifier()
    cfg.model.backbone = dict(type='ResNet', depth=18)
    cfg.model.head.in_channels = 512
    with pytest.raises(
        InputError, match=r"match the backbone: it has 0 of the model's \d+ tensors"
    ):
        Subject(cfg, str(tmp_path / 'other.pth'))
    with pytest.raises(InputError, match=r'no model\.backbone'):
        Subject(Config(dict(model=dict(type='Toy'))), 'none.pth')


class Answers(torch.nn.Module):
    """A backbone of somebody's with this answer, or error."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, inputs):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ('answer', 'said'),
    [
        (ValueError('too small'), r'does not accept 32x48 pixels \(ValueError: too small\): use'),
        (RuntimeError('CUDA out of memory'), 'not enough memory for an image of 32x48'),
        (torch.tensor([1.0, float('nan')]), 'somebody computes features that are not finite'),
        ((torch.ones(2), torch.tensor(float('inf'))), 'features that are not finite'),
        ((torch.ones(2), 'text'), None),
    ],
)
def test_what_a_backbone_may_answer(answer, said):
    subject = object.__new__(Subject)
    subject.name, subject.backbone = 'somebody', Answers(answer)
    if said is None:
        subject(torch.zeros(1, 3, 32, 48))
    else:
        with pytest.raises(InputError, match=said):
            subject(torch.zeros(1, 3, 32, 48))


@pytest.mark.parametrize(
    ('scope', 'preprocessor', 'shape'),
    [
        ('mmseg', dict(type='SegDataPreProcessor', test_cfg=dict(size_divisor=32)), (1, 3, 64, 64)),
        ('mmdet', dict(type='DetDataPreprocessor', pad_size_divisor=32), (1, 3, 64, 64)),
        ('mmpretrain', dict(type='SelfSupDataPreprocessor'), 'gives no images as a tensor'),
        (
            'mmdet',
            dict(type='TrackDataPreprocessor'),
            'TrackDataPreprocessor does not take a single',
        ),
    ],
)
def test_preprocessing_that_pads_or_is_for_something_else(scope, preprocessor, shape):
    pytest.importorskip(scope)
    if scope == 'mmdet':
        pytest.importorskip('mmcv.ops', exc_type=ImportError)
    register_task_library(dict(default_scope=scope))
    subject = object.__new__(Subject)
    with MODELS.switch_scope_and_registry(scope) as models:
        subject._preprocessor = models.build(preprocessor)
    picture = np.zeros((40, 40, 3), np.uint8)
    if isinstance(shape, str):
        with pytest.raises(InputError, match=f'^data_preprocessor: .*{shape}'):
            subject.prepare(picture)
    else:
        assert subject.prepare(picture).shape == shape


@pytest.mark.parametrize('name', ['pred_sem_seg', 'gt_sem_seg'])
def test_models_of_other_things_than_classes_of_pixels(name):
    """mmseg has models of depth, too."""
    segmentor = object.__new__(Segmentor)
    segmentor.name = 'vpd'
    with pytest.raises(InputError, match=r'^vpd is not for classes of pixels: .* pred_depth_map$'):
        segmentor._labels(BaseDataElement(pred_depth_map=torch.zeros(1)), name)
