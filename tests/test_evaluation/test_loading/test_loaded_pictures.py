"""Pictures as somebody's loader gives them, and samples that cannot be loaded."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import LoadImageFromFile, Normalize
from mmengine.dataset import BaseDataset, Compose
from PIL import Image

from fan_mm.errors import InputError
from fan_mm.evaluation.loading.pictures import (
    load_picture,
    loader_in,
    pipelines_of,
    red_first,
)

RGB = np.zeros((40, 60, 3), np.uint8)
RGB[:20], RGB[20:, :30] = (200, 30, 60), (10, 90, 250)


def own(make):
    return lambda results: {**results, 'img': make(Image.open(results['img_path']))}


LOADERS = {
    'none': None,
    'default': LoadImageFromFile(),
    'floats': LoadImageFromFile(to_float32=True),
    'unchanged': LoadImageFromFile(color_type='unchanged'),
    'pillow': LoadImageFromFile(imdecode_backend='pillow'),
    'of Pillow': own(lambda image: image),
    'palette': own(lambda image: image.convert('P', palette=Image.Palette.ADAPTIVE)),
    'tensor': own(lambda image: torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)),
    'alpha': own(lambda image: np.asarray(image.convert('RGBA'))[..., [2, 1, 0, 3]]),
    'deep': own(lambda image: np.asarray(image)[..., ::-1].astype(np.uint16) * 257),
}


@pytest.mark.parametrize('loader', LOADERS.values(), ids=LOADERS)
def test_colours(tmp_path, loader):
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    assert np.array_equal(load_picture(loader, tmp_path / 'a.png'), RGB)


def test_values_beyond_a_picture_s_are_its_ends(tmp_path):
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    wild = np.float32([[-3.0, np.nan, 0.9], [255.4, 300.0, np.inf]])
    picture = load_picture(own(lambda image: wild), tmp_path / 'a.png')
    assert picture[..., 0].tolist() == [[0, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize('flag', ['grayscale', 'unchanged'])
def test_grey(tmp_path, flag):
    cv2.imwrite(str(tmp_path / 'a.png'), RGB[..., 0])
    picture = load_picture(LoadImageFromFile(color_type=flag), tmp_path / 'a.png')
    assert np.array_equal(picture, np.repeat(RGB[..., :1], 3, 2))


@pytest.mark.parametrize('loader', [None, LoadImageFromFile(), own(lambda image: 'no array')])
def test_what_cannot_be_read(tmp_path, loader):
    (tmp_path / 'a.png').write_text('text')
    for name in ('a.png', 'nothing.png'):
        with pytest.raises(InputError, match=f'{name} cannot be read as an image'):
            load_picture(loader, tmp_path / name)


class Dataset:
    def __init__(self, *transforms):
        self.pipeline = Compose([])
        self.pipeline.transforms = list(transforms)


def test_the_loader_is_found_inside_wrappers():
    inner, loader = Dataset(), LoadImageFromFile()
    inner.pipeline.transforms = [own(None), loader]
    wrapped = type('', (), dict(datasets=[type('', (), dict(dataset=inner))(), Dataset()]))()
    assert [loader_in(transforms) for transforms in pipelines_of(wrapped)] == [loader, None]
    assert list(pipelines_of(object())) == [()]


class OneFile(BaseDataset):
    def load_data_list(self):
        return [dict(img_path=self.ann_file)]


class PackSample:
    def __call__(self, results):
        return dict(inputs=torch.from_numpy(np.asarray(results['img']).copy()))


def unlike_itself(results):
    raise TypeError('one colour')


@pytest.mark.parametrize(
    ('steps', 'red'),
    [
        ([LoadImageFromFile()], False),
        ([own(lambda image: image)], True),
        ([own(np.asarray)], True),
        ([LoadImageFromFile(), Normalize([0.0] * 3, [1.0] * 3, to_rgb=True)], True),
        ([LoadImageFromFile(), Normalize([9.0] * 3, [7.0] * 3, to_rgb=True)], False),  # not to be told
        ([LoadImageFromFile(color_type='grayscale')], False),
        ([LoadImageFromFile(), unlike_itself], False),
    ],
)  # fmt: skip
def test_which_colour_comes_first(tmp_path, steps, red):
    Image.fromarray(RGB).save(tmp_path / 'a.png')
    dataset = OneFile(
        str(tmp_path / 'a.png'), pipeline=[*steps, PackSample()], serialize_data=False
    )
    assert red_first(dataset) == red
    assert red_first(SimpleNamespace(datasets=[SimpleNamespace(dataset=dataset)])) == red
    assert not red_first(SimpleNamespace(datasets={'a': dataset}))  # somebody's own wrapper


@pytest.mark.parametrize('kind', ['CIFAR10', 'CIFAR100', 'somebody else'])
def test_arrays_without_a_file(kind):
    """CIFAR's have red first."""
    datasets = pytest.importorskip('mmpretrain.datasets')

    class Arrays(getattr(datasets, kind, BaseDataset)):
        def load_data_list(self):
            return [dict(img=RGB, gt_label=0)]

    where = dict(ann_file='') if kind == 'somebody else' else dict(data_root='nowhere')
    assert red_first(Arrays(**where, pipeline=[PackSample()])) == kind.startswith('CIFAR')


@pytest.mark.parametrize('dataset', [None, SimpleNamespace(), [1]])
def test_datasets_without_pipelines_tell_no_order(dataset):
    assert not red_first(dataset)
