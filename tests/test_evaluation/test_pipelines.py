"""Placing a corruption in pipelines as the three libraries' users write them."""

import cv2
import numpy as np
import pytest
from mmcv.transforms import TRANSFORMS, BaseTransform, LoadImageFromFile
from mmcv.transforms import Compose as Sequential
from mmcv.transforms import TestTimeAug as Augmented
from mmengine.dataset import BaseDataset, Compose, ConcatDataset, RepeatDataset

from fan_mm.datasets.transforms import CorruptImage, RandomCorruption
from fan_mm.errors import InputError
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.pipelines import (
    as_the_model_gets_it,
    flatten,
    from_files,
    insert,
    on_the_fly,
    with_cells,
)

FOG = Cell('fog', 3)


class Step:
    """Stands for CorruptImage."""

    corruption, severity = 'clean', 0

    def __call__(self, results):
        return {**results, 'trace': [*results['trace'], f'{self.corruption}/{self.severity}']}


def named(name, **attributes):
    """A transform class of some name that writes its name into the sample."""

    def call(self, results):
        return {**results, 'trace': [*results['trace'], name]}

    return type(name, (), {'__call__': call, **attributes})()


class Load(LoadImageFromFile):
    def transform(self, results):
        return {**results, 'trace': [*results['trace'], 'Load']}


class Memory(BaseDataset):
    def load_data_list(self):
        return [{'trace': []}, {'trace': []}]


def dataset(*transforms):
    return Memory(pipeline=list(transforms))


def trace(data, index=0):
    return data[index]['trace']


def test_after_loading():
    clean = dataset(named('Before'), Load(), named('Resize'), named('PackSegInputs'))
    new, (pipeline,) = with_cells(clean, Step, on_the_fly)
    assert trace(new) == ['Before', 'Load', 'Resize', 'PackSegInputs']
    pipeline.move_to(FOG)
    assert trace(new) == ['Before', 'Load', 'fog/3', 'Resize', 'PackSegInputs']
    pipeline.move_to(CLEAN)
    assert trace(new) == ['Before', 'Load', 'Resize', 'PackSegInputs']


def test_the_original_is_left_alone():
    clean = dataset(Load(), named('PackSegInputs'))
    before = clean.pipeline, list(clean.pipeline.transforms), dict(vars(clean))
    new, (pipeline,) = with_cells(clean, Step, on_the_fly)
    pipeline.move_to(FOG)
    assert trace(clean) == ['Load', 'PackSegInputs']
    assert (clean.pipeline, clean.pipeline.transforms, vars(clean)) == before
    assert new.data_bytes is clean.data_bytes  # annotations are shared, not copied


def test_classification_is_corrupted_after_the_crop():
    clean = dataset(
        Load(), named('ResizeEdge', scale=256), named('CenterCrop'), named('PackInputs')
    )
    new, (pipeline,) = with_cells(clean, Step, on_the_fly)
    pipeline.move_to(FOG)
    assert trace(new) == ['Load', 'ResizeEdge', 'CenterCrop', 'fog/3', 'PackInputs']


def test_loaders_of_other_libraries_are_known():
    clean = dataset(
        named('LoadMultiChannelImageFromFiles'), named('LoadAnnotations'), named('Pack')
    )
    new, (pipeline,) = with_cells(clean, Step, on_the_fly)
    pipeline.move_to(FOG)
    assert trace(new)[1] == 'fog/3'


def test_images_that_the_dataset_holds_are_corrupted_before_packing():
    new, (pipeline,) = with_cells(dataset(named('Flip'), named('PackInputs')), Step, on_the_fly)
    pipeline.move_to(FOG)
    assert trace(new) == ['Flip', 'fog/3', 'PackInputs']


@pytest.mark.parametrize('composed', [Compose, Sequential])
def test_nested_pipelines(composed):
    inner = composed([Load(), named('Resize')])
    new, (pipeline,) = with_cells(dataset(inner, named('PackSegInputs')), Step, on_the_fly)
    pipeline.move_to(FOG)
    assert trace(new) == ['Load', 'fog/3', 'Resize', 'PackSegInputs']
    assert len(inner.transforms) == 2


def test_test_time_augmentation():
    """Loading before TestTimeAug, and, as some write it, packing within."""
    augment = Augmented([[named('Small'), named('Large')], [named('PackInputs')]])
    clean = dataset(Load(), augment)
    new, (pipeline,) = with_cells(clean, Step, on_the_fly)
    pipeline.move_to(FOG)
    # mmpretrain's packing: in each branch
    assert trace(new) == [['Load', size, 'fog/3', 'PackInputs'] for size in ('Small', 'Large')]
    assert trace(clean) == [['Load', size, 'PackInputs'] for size in ('Small', 'Large')]


def test_wrapped_datasets():
    wrapped = ConcatDataset([dataset(Load(), named('A')), dataset(Load(), named('B'))])
    new, pipelines = with_cells(wrapped, Step, on_the_fly)
    assert len(pipelines) == 2
    for pipeline in pipelines:
        pipeline.move_to(FOG)
    assert [trace(new, i)[-1] for i in range(4)] == ['A', 'A', 'B', 'B']
    assert trace(new, 3) == ['Load', 'fog/3', 'B']
    assert trace(wrapped, 3) == ['Load', 'B']


def test_repeated_dataset():
    wrapped = RepeatDataset(dataset(Load(), named('A')), times=2)
    new, (pipeline,) = with_cells(wrapped, Step, on_the_fly)
    pipeline.move_to(FOG)
    assert len(new) == 4
    assert trace(new, 3) == ['Load', 'fog/3', 'A']
    assert trace(wrapped, 3) == ['Load', 'A']


def test_files_are_chosen_before_loading():
    new, (pipeline,) = with_cells(dataset(named('Before'), Load()), Step, from_files)
    pipeline.move_to(FOG)
    assert trace(new) == ['Before', 'fog/3', 'Load']


def test_cropped_files_are_not_cropped_again():
    pytest.importorskip('mmpretrain')
    from mmcv.transforms import CenterCrop
    from mmpretrain.datasets.transforms import EfficientNetCenterCrop, ResizeEdge

    steps = [Load(), ResizeEdge(256), CenterCrop(224), named('PackInputs')]
    corrupted = from_files(steps, Step())
    resize = next(t for t in corrupted if isinstance(t, ResizeEdge))
    assert resize.scale == 224
    assert steps[1].scale == 256
    # Segmentation: a crop is a crop.
    steps[-1] = named('PackSegInputs')
    resize = next(t for t in from_files(steps, Step()) if isinstance(t, ResizeEdge))
    assert resize.scale == 256
    # EfficientNet's crop resizes, and so does what stands for it.
    crop = EfficientNetCenterCrop(224, interpolation='lanczos')
    instead = from_files([Load(), crop, named('PackInputs')], Step())[2]
    assert (instead.scale, instead.interpolation) == ((224, 224), 'lanczos')


def picture_through(steps, file):
    """What a pipeline for clean pictures makes of a corrupted file."""
    _, (pipeline,) = with_cells(dataset(*steps), Step, from_files)
    pipeline.move_to(FOG)
    return pipeline({'img_path': str(file), 'trace': []})


@pytest.mark.parametrize('nested', [False, True])
@pytest.mark.parametrize('side', [224, 288])
def test_no_crop_takes_a_part_of_a_file(tmp_path, nested, side):
    """Of a grey file with a white border the border stays, through either crop."""
    pytest.importorskip('mmpretrain')
    from mmcv.transforms import CenterCrop
    from mmpretrain.datasets.transforms import EfficientNetCenterCrop, ResizeEdge

    image = np.full((224, 224, 3), 255, np.uint8)
    image[2:-2, 2:-2] = 90
    cv2.imwrite(str(tmp_path / 'c.png'), image)
    pack = type('PackInputs', (), {'__call__': lambda self, results: results})()
    for crop in (
        [ResizeEdge(256), CenterCrop(side)],
        [CenterCrop(side)],
        [EfficientNetCenterCrop(side)],
    ):
        augmented = Augmented([[step] for step in (*crop, pack)])
        steps = [LoadImageFromFile(), *([augmented] if nested else [*crop, pack])]
        found = picture_through(steps, tmp_path / 'c.png')['img']
        found = found[0] if nested else found
        assert found.shape == (side, side, 3)
        assert found[[0, -1]].min() > 200 and found[:, [0, -1]].min() > 200
        if side == 224:
            np.testing.assert_array_equal(found, image)


@pytest.mark.parametrize('side', [224, 288])
@pytest.mark.parametrize('resize', [256, (256, 256), None])
def test_no_crop_of_torchvision_takes_a_part_of_a_file(tmp_path, side, resize):
    """As mmpretrain's documentation has them, on Pillow images."""
    pytest.importorskip('mmpretrain')
    from mmpretrain.registry import TRANSFORMS

    image = np.full((224, 224, 3), 255, np.uint8)
    image[2:-2, 2:-2] = 90
    cv2.imwrite(str(tmp_path / 'c.png'), image)
    pack = type('PackInputs', (), {'__call__': lambda self, results: results})()
    kinds = [dict(type='NumpyToPIL', to_rgb=True), dict(type='torchvision/CenterCrop', size=side)]
    if resize:
        kinds.insert(1, dict(type='torchvision/Resize', size=resize))
    built = [TRANSFORMS.build(kind) for kind in kinds]
    found = np.asarray(
        picture_through([LoadImageFromFile(), *built, pack], tmp_path / 'c.png')['img']
    )
    assert found.shape == (side, side, 3)
    assert found[[0, -1]].min() > 200 and found[:, [0, -1]].min() > 200
    if side == 224:
        np.testing.assert_array_equal(found, image)
    assert built[-1].t.size == (side, side)  # the clean one's still crops
    assert not resize or built[1].t.size == resize


def test_other_crops_are_refused():
    pytest.importorskip('mmpretrain')
    from mmcv.transforms import CenterCrop
    from mmpretrain.datasets.transforms import RandomCrop
    from mmpretrain.registry import TRANSFORMS

    torchvision = TRANSFORMS.build(dict(type='torchvision/FiveCrop', size=224))
    for crops in ([RandomCrop(224)], [torchvision], [CenterCrop(224), CenterCrop(192)]):
        with pytest.raises(InputError, match=r'already cropped, but the pipeline has \w+Crop:'):
            from_files([Load(), *crops, named('PackInputs')], Step())
        assert len(from_files([Load(), *crops, named('PackSegInputs')], Step())) == len(crops) + 3


def test_a_sample_that_fails_is_not_replaced_by_another():
    """Outside test mode mmengine draws another sample for one that comes out as None."""
    clean = dataset(Load(), lambda results: None)
    new, _ = with_cells(clean, Step, on_the_fly)
    with pytest.raises(Exception, match='should not get `None`'):
        new[0]


@pytest.mark.parametrize(
    ('bad', 'message'),
    [
        (dataset(named('Resize')), 'it needs a LoadImageFromFile'),
        ([1, 2, 3], 'list has no pipeline'),
    ],
)
def test_no_place_for_a_corruption(bad, message):
    with pytest.raises(InputError, match=message):
        with_cells(bad, Step, on_the_fly)


def test_insert_takes_the_first_place_only():
    step = Step()
    done = insert(
        [named('A'), named('B'), named('A')], step, lambda t: type(t).__name__ == 'A', True
    )
    assert [type(t).__name__ for t in done] == ['A', 'Step', 'B', 'A']


def test_flatten_looks_inside():
    augment = Augmented([[named('Small')], [named('Pack')]])
    names = [type(t).__name__ for t in flatten([Load(), augment])]
    assert {'Load', 'TestTimeAug', 'Small', 'Pack'} <= set(names)


@pytest.mark.parametrize(
    ('place', 'pack'), [(on_the_fly, 'PackInputs'), (as_the_model_gets_it, 'PackSegInputs')]
)
@pytest.mark.parametrize(
    ('side', 'resize'), [(31, []), (64, [dict(type='Resize', scale=(28, 28))])]
)
def test_pictures_that_are_too_small_to_be_corrupted(tmp_path, place, pack, side, resize):
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((side, 64, 3), np.uint8))

    class Pictures(BaseDataset):
        def load_data_list(self):
            return [dict(img_path=str(tmp_path / 'a.png'))]

    load = [dict(type='mmcv.LoadImageFromFile')]
    resize = [TRANSFORMS.build(step) for step in resize]
    data = Pictures(pipeline=[*load, *resize, named(pack)])
    with pytest.raises(
        InputError, match=r'has (64x31|28x28) pixels, but the corruptions need 32x32'
    ):
        with_cells(data, lambda: CorruptImage('fog', 1), place)
    _, pipelines = with_cells(data, lambda: CorruptImage('clean'), place, corrupts=False)
    assert len(pipelines) == 1  # real conditions corrupt nothing


class Corrupt(BaseTransform):
    """Told by its name: mmdet's."""

    def transform(self, results):
        return results


class RandomOfMine(RandomCorruption):
    pass


@pytest.mark.parametrize('step', [CorruptImage('fog', 3), RandomOfMine(['fog']), Corrupt()])
@pytest.mark.parametrize('place', [on_the_fly, from_files])
@pytest.mark.parametrize('nested', [False, True])
def test_a_pipeline_that_corrupts_already(step, place, nested):
    """Its clean images would not be clean, and its corrupted ones corrupted twice."""

    class Pictures(BaseDataset):
        def load_data_list(self):
            return [dict(img_path='a.png')]

    inner = Augmented([[step], [named('Pack')]]) if nested else step
    data = Pictures(pipeline=[dict(type='mmcv.LoadImageFromFile')])
    data.pipeline.transforms.append(inner)
    name = type(step).__name__
    with pytest.raises(InputError, match=f'Pictures has {name}, which also corrupts the clean'):
        with_cells(data, lambda: CorruptImage('clean'), place)
