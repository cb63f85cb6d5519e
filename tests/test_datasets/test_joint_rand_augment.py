"""The two images of an STL sample show the same places; colours, erasing and mixing are the student's."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

pytest.importorskip('mmpretrain')

import mmpretrain.datasets  # noqa: F401  (registers its transforms)

from fan_mm.datasets.transforms.joint_rand_augment import GEOMETRIC, JointRandAugment
from fan_mm.errors import InputError

SIZE = 96


@pytest.fixture(scope='module')
def coordinates(tmp_path_factory):
    """A picture whose pixels say where they are: blue the column, green the row."""
    rows, columns = np.mgrid[0:192, 0:256]
    image = np.stack([columns, rows, np.full_like(rows, 255)], axis=-1).astype(np.uint8)
    path = tmp_path_factory.mktemp('pictures') / 'coordinates.png'
    cv2.imwrite(str(path), image)
    return str(path)


def pipeline(policies, packed=False, erase=0.0):
    steps = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=SIZE, crop_ratio_range=(0.3, 1.0)),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        dict(type='JointRandAugment', policies=policies, pad_val=(0, 0, 0), teacher=True),
        dict(type='RandomErasing', erase_prob=erase, mode='const', fill_color=(1, 2, 3)),
    ]
    if packed:
        steps.append(dict(type='PackPairedInputs'))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return Compose(steps)


def geometric(**options):
    return [
        dict(type='Rotate', magnitude_range=(0, 30), prob=1.0),
        dict(type='Shear', magnitude_range=(0, 0.3), direction='horizontal', prob=1.0),
        dict(type='Shear', magnitude_range=(0, 0.3), direction='vertical', prob=1.0),
        dict(type='Translate', magnitude_range=(0, 0.45), direction='horizontal', prob=1.0),
        dict(type='Translate', magnitude_range=(0, 0.45), direction='vertical', prob=1.0),
    ]


PHOTOMETRIC = [
    dict(type='Invert', prob=1.0),
    dict(type='Solarize', magnitude_range=(256, 0), prob=1.0),
    dict(type='Brightness', magnitude_range=(0, 0.9), prob=1.0),
]


def test_geometry_is_shared(coordinates):
    """Wherever both are picture (red is 255), the pixels of both come from the same place."""
    run, moved = pipeline(geometric()), 0
    for seed in range(30):
        np.random.seed(seed)
        sample = run(dict(img_path=coordinates))
        student, teacher = (sample[key].astype(int) for key in ('img', 'teacher_img'))
        picture = (student[..., 2] > 250) & (teacher[..., 2] > 250)
        # what moved in from outside, and the ringing of two bicubic filters beside it
        inside = cv2.erode(
            picture.astype(np.uint8),
            np.ones((11, 11)),
            borderType=cv2.BORDER_CONSTANT,
            borderValue=0,
        ).astype(bool)
        assert inside.mean() > 0.02
        difference = np.abs(student - teacher)[..., :2][inside]
        # each image has a filter of its own, so neighbouring grey levels may differ a little
        assert difference.max() <= 2
        moved += (student[..., 2] < 250).any()
    assert moved > 20


def test_the_filter_is_drawn_for_each_image(coordinates):
    run = pipeline(geometric())
    np.random.seed(0)
    samples = [run(dict(img_path=coordinates)) for _ in range(20)]
    different = sum((s['img'] != s['teacher_img']).any() for s in samples)
    assert different > 0


def test_colours_are_the_students(coordinates):
    run = pipeline(PHOTOMETRIC)
    np.random.seed(1)
    for _ in range(10):
        sample = run(dict(img_path=coordinates))
        teacher = sample['teacher_img'].astype(int)
        assert (teacher[..., 2] == 255).all()  # untouched
        assert (sample['img'] != sample['teacher_img']).any()


def test_erasing_is_the_students_even_where_nothing_fired(coordinates):
    run = pipeline([dict(type='Invert', prob=0.0)], erase=1.0)
    np.random.seed(2)
    sample = run(dict(img_path=coordinates))
    assert (sample['img'] == (1, 2, 3)).all(-1).any()
    assert not (sample['teacher_img'] == (1, 2, 3)).all(-1).any()


def test_same_operations_as_mmpretrains_rand_augment(coordinates):
    """Without a teacher, one filter and the same draws it is mmpretrain's own."""
    from mmpretrain.datasets.transforms import RandAugment

    image = cv2.imread(coordinates)
    ours = JointRandAugment(interpolations=('bicubic',), pad_val=(104, 116, 124))
    theirs = RandAugment(
        'timm_increasing', 2, 9, 0.5, hparams=dict(pad_val=[104, 116, 124], interpolation='bicubic')
    )
    ours._filter = lambda: 'bicubic'
    for seed in range(40):
        np.random.seed(seed)
        found = ours(dict(img=image.copy()))
        assert set(found) == {'img'}
        np.random.seed(seed)
        assert np.array_equal(found['img'], theirs(dict(img=image.copy()))['img'])


def test_geometric_operations_are_all_that_move_pixels():
    from mmpretrain.datasets.transforms.auto_augment import RANDAUG_POLICIES

    names = {policy['type'] for policy in RANDAUG_POLICIES['timm_increasing']}
    assert set(GEOMETRIC) < names
    assert names - set(GEOMETRIC) == {
        'AutoContrast',
        'Equalize',
        'Invert',
        'Posterize',
        'Solarize',
        'SolarizeAdd',
        'ColorTransform',
        'Contrast',
        'Brightness',
        'Sharpness',
    }


def test_a_pair_is_packed_and_each_image_is_decoded_once(coordinates, monkeypatch):
    import mmcv

    reads = []
    decode = mmcv.imfrombytes
    monkeypatch.setattr(mmcv, 'imfrombytes', lambda *a, **k: reads.append(1) or decode(*a, **k))
    run = pipeline('timm_increasing', packed=True)
    packed = run(dict(img_path=coordinates, gt_label=3))
    assert len(reads) == 1
    assert packed['inputs'].shape == packed['teacher_inputs'].shape == (3, SIZE, SIZE)
    assert packed['inputs'].dtype == packed['teacher_inputs'].dtype == torch.uint8
    assert packed['data_samples'].gt_label.item() == 3


def test_packing_without_a_pair_is_refused(coordinates):
    from fan_mm.datasets.transforms import PackPairedInputs

    with pytest.raises(InputError, match='needs JointRandAugment'):
        PackPairedInputs()(dict(img=np.zeros((4, 4, 3), np.uint8)))
