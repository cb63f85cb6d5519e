"""Where a corruption goes in a pipeline that somebody else wrote.

A dataset is never changed: what is returned is a shallow copy (the annotations are shared) whose
pipelines run as they were for the clean cell and with one step more for the others.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

from mmcv.transforms import LoadImageFromFile, Resize
from mmengine.dataset import Compose

from fan_mm.errors import InputError
from fan_mm.evaluation.cells import CLEAN, Cell

Transforms = list[Callable[[dict], Any]]

_CENTRE_CROPS = ('CenterCrop', 'EfficientNetCenterCrop')


class CellPipeline:
    """A dataset's pipeline: its own for clean images, a variant for corrupted ones.

    Args:
        clean: the pipeline as the dataset had it.
        corrupted: the same with the corruption in it.
        step: the transform that corrupts; its ``corruption`` and ``severity`` are set per cell.
    """

    def __init__(self, clean: Compose, corrupted: Compose, step: Any) -> None:
        self.clean = clean
        self.corrupted = corrupted
        self.step = step
        self.cell = CLEAN

    def move_to(self, cell: Cell) -> None:
        """Corrupt as this cell says from now on."""
        self.cell = cell
        self.step.corruption, self.step.severity = cell

    def __call__(self, results: dict) -> Any:
        return (self.clean if self.cell == CLEAN else self.corrupted)(results)


def is_loader(transform: Any) -> bool:
    """Whether a transform loads the image: mmcv's, a subclass, or by the libraries' naming."""
    name = type(transform).__name__
    return isinstance(transform, LoadImageFromFile) or (
        name.startswith('Load') and 'Image' in name and 'Annotation' not in name
    )


def is_packer(transform: Any) -> bool:
    """Whether a transform packs the sample for the model (PackInputs, PackSegInputs, ...)."""
    return type(transform).__name__.startswith('Pack')


def is_classification(transforms: Sequence) -> bool:
    """Whether a pipeline is mmpretrain's, told by its packing transform."""
    return any(type(t).__name__ == 'PackInputs' for t in flatten(transforms))


def flatten(transforms: Sequence) -> list:
    """All transforms of a pipeline, those inside wrappers (TestTimeAug and the like) too."""
    found = []
    for transform in transforms:
        found += [transform, *(t for _, inside in _inside(transform) for t in flatten(inside))]
    return found


def _inside(transform: Any) -> list[tuple[str, list]]:
    """Attributes of a transform that hold transforms, as lists: a sequence or alternatives."""
    found = []
    for name in ('transforms', 'subroutines'):
        value = getattr(transform, name, None)
        if isinstance(value, list):
            found.append((name, value))
        elif isinstance(getattr(value, 'transforms', None), list):
            found.append((name, [value]))
    return found


def insert(transforms: Sequence, step: Any, at: Callable[[Any], bool], after: bool) -> Transforms:
    """A copy of a list of transforms with ``step`` beside the first transform that fits.

    Where none of the list fits, what lies inside its wrapping transforms is tried.

    Args:
        transforms: of a pipeline.
        step: what to insert.
        at: says whether a transform is the one.
        after: insert after it, else before it.

    Returns:
        The new list; equal to the old one if nothing fits.
    """
    transforms = list(transforms)
    for i, transform in enumerate(transforms):
        if at(transform):
            place = i + 1 if after else i
            return [*transforms[:place], step, *transforms[place:]]
    return [_change_inside(t, lambda inside: insert(inside, step, at, after)) for t in transforms]


def _change_inside(transform: Any, change: Callable[[list], list]) -> Any:
    """A copy of a transform that wraps others, with those changed; any other one as it is."""
    new = copy.copy(transform) if _inside(transform) else transform
    for name, inside in _inside(transform):
        changed = change(inside)
        setattr(new, name, changed if isinstance(getattr(new, name), list) else changed[0])
    return new


def on_the_fly(transforms: Sequence, step: Any) -> Transforms:
    """Corrupt the image once it is loaded, or, for classification, once it is cropped.

    Cityscapes-C and COCO-C corrupt the picture as it lies on disk; ImageNet-C is defined on the
    224x224 crop (Hendrycks and Dietterich, ICLR 2019), so there the corruption comes last, before
    the sample is packed. So it does where no transform loads the image because the dataset holds it.
    """
    if not is_classification(transforms) and any(map(is_loader, flatten(transforms))):
        return insert(transforms, step, is_loader, after=True)
    return insert(transforms, step, is_packer, after=False)


def from_files(transforms: Sequence, step: Any) -> Transforms:
    """Load the corrupted file in the image's place.

    The pictures of ImageNet-C are crops already. So that they are not cropped to a part of
    themselves, centre crops and the resizes before them go straight to the size of the crop:
    nothing is done to 224x224 files for a model that takes 224, and one resize for one that takes
    384.

    Raises:
        InputError: a classification pipeline with other crops, or of several sizes.
    """
    transforms = insert(transforms, step, is_loader, after=False)
    crops = [t for t in flatten(transforms) if _name(t).endswith('Crop')]
    if not crops or not is_classification(transforms):
        return transforms
    known = [t for t in crops if type(t).__name__ in _CENTRE_CROPS]
    sizes = {_pair(crop.crop_size) for crop in known}
    if len(known) < len(crops) or len(sizes) > 1:
        names = ', '.join(dict.fromkeys(map(_name, crops)))
        raise InputError(
            f'the files of --corrupted-root are crops already, and the pipeline has {names}: '
            f'only {" or ".join(_CENTRE_CROPS)} of one size can be left out'
        )
    return _uncropped(transforms, sizes.pop())


def _name(transform: Any) -> str:
    """A transform's class, of one of torchvision that which mmpretrain wraps."""
    return type(getattr(transform, 't', transform)).__name__


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _uncropped(transforms: Sequence, size: tuple[int, int]) -> Transforms:
    """A copy of a list of transforms whose resizes and centre crops all resize to one size."""

    def change(transform: Any) -> Any:
        name = type(transform).__name__
        if name in _CENTRE_CROPS:
            ways = ('interpolation', 'backend')  # EfficientNet's crop resizes too
            return Resize(size, **{w: getattr(transform, w) for w in ways if hasattr(transform, w)})
        if name in ('Resize', 'ResizeEdge'):
            transform = copy.copy(transform)
            transform.scale = min(size) if name == 'ResizeEdge' else size
        return _change_inside(transform, lambda inside: _uncropped(inside, size))

    return [change(transform) for transform in transforms]


def with_cells(
    dataset: Any, make_step: Callable[[], Any], place: Callable[[Sequence, Any], Transforms]
) -> tuple[Any, list[CellPipeline]]:
    """A copy of a dataset that can be moved from cell to cell.

    Args:
        dataset: any mm dataset; wrappers (ConcatDataset, RepeatDataset, ...) are followed.
        make_step: builds the corrupting transform, one per pipeline.
        place: `on_the_fly` or `from_files`.

    Returns:
        The copy, and its pipelines, whose `CellPipeline.move_to` moves it.

    Raises:
        InputError: a dataset has no pipeline, or one with no place for the corruption.
    """
    new = copy.copy(dataset)
    if hasattr(dataset, 'datasets'):
        copies = [with_cells(d, make_step, place) for d in dataset.datasets]
        new.datasets = [d for d, _ in copies]
        return new, [pipeline for _, found in copies for pipeline in found]
    if hasattr(dataset, 'dataset'):
        new.dataset, pipelines = with_cells(dataset.dataset, make_step, place)
        return new, pipelines
    clean = getattr(dataset, 'pipeline', None)
    if not hasattr(clean, 'transforms'):
        raise InputError(
            f'{type(dataset).__name__} has no pipeline of transforms to put a corruption into: '
            'use a dataset of mmpretrain, mmseg or mmdet, or one derived from mmengine BaseDataset'
        )
    step = make_step()
    corrupted = place(clean.transforms, step)
    if not any(t is step for t in flatten(corrupted)):
        names = ', '.join(type(t).__name__ for t in flatten(clean.transforms))
        raise InputError(
            f'no place for a corruption in the pipeline of {type(dataset).__name__} ({names}): '
            'it needs a LoadImageFromFile'
        )
    new.pipeline = CellPipeline(clean, Compose(corrupted), step)
    # mmengine replaces a sample that came out as None by a random other one, but in test mode.
    new.test_mode = True
    return new, [new.pipeline]
