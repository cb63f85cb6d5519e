"""Insert a corruption into a third-party pipeline.

A dataset is never modified: the result is a shallow copy (sharing the annotations) whose pipelines
are unchanged for the clean cell and have one additional step for the other cells.
"""

import contextlib
import copy
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mmcv.transforms import LoadImageFromFile, Resize
from mmengine.dataset import Compose
from PIL import Image

from fan_mm.corruptions import MIN_SIDE
from fan_mm.datasets.transforms import CorruptImage
from fan_mm.datasets.transforms.corrupt_image import grey_levels
from fan_mm.errors import InputError
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.loading.nested_transforms import (
    Transforms,
    change_inside,
    flatten,
    insert,
    names_of,
)
from fan_mm.evaluation.loading.picture_flow import (
    Frame,
    Look,
    colour_orders,
    copied,
    loader_and_packer,
    picture_in,
    run,
)
from fan_mm.picture_files import refuse_cut

_CENTRE_CROPS = ('CenterCrop', 'EfficientNetCenterCrop')


# Corrupting transforms, ours and mmdet's, which a pipeline may contain from another cell or from training.
_CORRUPTING = {'CorruptImage', 'RandomCorruption', 'Corrupt'}
# channel_order of `CorruptImage` for images with blue first -> for images with red first. For an RGB image,
# 'bgr' exchanges red and blue, as 'bgr-as-rgb' does for a BGR image.
_RED_FIRST = {'bgr': 'rgb', 'bgr-as-rgb': 'bgr', 'rgb': 'rgb'}


class CellPipeline:
    """A dataset's pipeline: its own for clean images, a variant for corrupted ones.

    Args:
        clean: the dataset's original pipeline.
        corrupted: the same pipeline with the corruption inserted.
        step: the corrupting transform; its ``corruption`` and ``severity`` are set per cell.
        channel_order: channel order of the image where it is packed: 'bgr', as mm loads it, or 'rgb'.
    """

    def __init__(
        self, clean: Compose, corrupted: Compose, step: Any, channel_order: str = 'bgr'
    ) -> None:
        self.clean = clean
        self.corrupted = corrupted
        self.step = step
        self.channel_order = channel_order
        self.cell = CLEAN

    def move_to(self, cell: Cell) -> None:
        """Switch to this cell."""
        self.cell = cell
        self.step.corruption, self.step.severity = cell

    def start(self) -> Transforms:
        """The transforms before the corruption, which are the same in every cell."""
        transforms = self.corrupted.transforms
        holds = (any(t is self.step for t in flatten([transform])) for transform in transforms)
        return transforms[: next(holding for holding, found in enumerate(holds) if found)]

    @contextlib.contextmanager
    def started_by(self, transform: Callable[[dict], Any]) -> Iterator[None]:
        """Let one transform stand for those of `start` within the block."""
        before, length = (self.clean, self.corrupted), len(self.start())
        self.clean, self.corrupted = map(copy.copy, before)
        for pipeline in (self.clean, self.corrupted):
            pipeline.transforms = [transform, *pipeline.transforms[length:]]
        try:
            yield
        finally:
            self.clean, self.corrupted = before

    def __call__(self, results: dict) -> Any:
        if self.cell != CLEAN:
            return self.corrupted(results)
        refuse_cut(results)  # a decoder may fill truncated images with grey
        return self.clean(results)


@dataclass(frozen=True)
class Landmarks:
    """The transforms that determine where to insert a corruption.

    Attributes:
        loads: whether a transform loads the image.
        packs: whether a transform packs the sample for the model.
        classifies: the pipeline is for classification, where the corruption comes last.
        ends_with_image: no transform packs the sample; the loader's collate function does.
    """

    loads: Callable[[Any], bool]
    packs: Callable[[Any], bool]
    classifies: bool
    ends_with_image: bool = False


def is_loader(transform: Any) -> bool:
    """Whether a transform loads the image: mmcv's, a subclass, or by the libraries' naming."""
    return isinstance(transform, LoadImageFromFile) or any(
        name.startswith('Load') and 'Image' in name and 'Annotation' not in name
        for name in names_of(transform)
    )


def is_packer(transform: Any) -> bool:
    """Whether a transform packs the sample for the model (PackInputs, PackSegInputs, ...)."""
    return any(name.startswith('Pack') for name in names_of(transform))


def is_classification(transforms: Sequence) -> bool:
    """Whether a pipeline is mmpretrain's, told by its packing transform."""
    return any('PackInputs' in names_of(t) for t in flatten(transforms))


def landmarks_of(
    transforms: Sequence, dataset: Any = None, sample: dict | None = None
) -> Landmarks:
    """Find what loads the image and what packs it: by name, else by what happens to a sample.

    Args:
        transforms: transforms of a pipeline.
        dataset: dataset of the pipeline; mmpretrain's are always for classification.
        sample: an input of the pipeline; without one, only the transforms' names are used.
    """
    libraries = {base.__module__.partition('.')[0] for base in type(dataset).__mro__}
    classifies = is_classification(transforms) or 'mmpretrain' in libraries
    loads = any(map(is_loader, flatten(transforms)))
    packs = any(map(is_packer, flatten(transforms)))
    if sample is None or (packs if classifies else loads):
        return Landmarks(is_loader, is_packer, classifies)
    loader, packer, last = loader_and_packer(transforms, sample)
    return Landmarks(
        is_loader if loads else lambda t: t is loader,
        is_packer if packs else lambda t: t is packer,
        classifies,
        ends_with_image=not packs and packer is None and last,
    )


def on_the_fly(transforms: Sequence, step: Any, landmarks: Landmarks | None = None) -> Transforms:
    """Corrupt the image once it is loaded, or, for classification, once it is cropped.

    Cityscapes-C and COCO-C corrupt the image at its size on disk. ImageNet-C is defined on the
    224x224 crop (Hendrycks and Dietterich, ICLR 2019), so for it the corruption comes last, before the
    sample is packed; likewise if no transform loads the image because the dataset holds it in memory.
    """
    marks = landmarks or landmarks_of(transforms)
    if not marks.classifies and any(map(marks.loads, flatten(transforms))):
        return insert(transforms, step, marks.loads, after=True)
    return as_the_model_gets_it(transforms, step, marks)


def as_the_model_gets_it(transforms: Sequence, step: Any, landmarks: Landmarks) -> Transforms:
    """Corrupt the image last of all, before the sample is packed, at the size at which the model gets it."""
    if landmarks.ends_with_image:
        return [*transforms, step]
    return insert(transforms, step, landmarks.packs, after=False)


def from_files(transforms: Sequence, step: Any, landmarks: Landmarks | None = None) -> Transforms:
    """Load the corrupted file instead of the image.

    The images of ImageNet-C are already cropped. To avoid cropping them again, centre crops and the
    preceding resizes are replaced by a resize to the crop size: 224x224 files are unchanged for a model
    with 224 pixel inputs, and resized once for one with 384.

    Raises:
        InputError: a classification pipeline with other crops, or of several sizes.
    """
    marks = landmarks or landmarks_of(transforms)
    transforms = insert(transforms, step, marks.loads, after=False)
    crops = [t for t in flatten(transforms) if any(n.endswith('Crop') for n in names_of(t))]
    if not crops or not marks.classifies:
        return transforms
    known = [t for t in crops if names_of(t)[0] in _CENTRE_CROPS]
    sizes = {_size_of(crop) for crop in known}
    if len(known) < len(crops) or len(sizes) > 1:
        names = ', '.join(dict.fromkeys(names_of(crop)[0] for crop in crops))
        raise InputError(
            f'the files of --corrupted-root are already cropped, but the pipeline has {names}: '
            f'only {" or ".join(_CENTRE_CROPS)} of one size can be left out'
        )
    return _uncropped(transforms, sizes.pop())


def _size_of(crop: Any) -> tuple[int, int]:
    size = crop.t.size if hasattr(crop, 't') else crop.crop_size  # wrapped torchvision, or mm
    return (size, size) if isinstance(size, int) else tuple(size)


def _uncropped(transforms: Sequence, size: tuple[int, int]) -> Transforms:
    """A copy of a list of transforms whose resizes and centre crops all resize to one size."""

    def change(transform: Any) -> Any:
        name = names_of(transform)[0]
        if hasattr(transform, 't') and name in ('CenterCrop', 'Resize'):
            return _resized_by_torchvision(transform, name, size)
        if name in _CENTRE_CROPS:
            ways = ('interpolation', 'backend')  # EfficientNetCenterCrop also resizes
            return Resize(size, **{w: getattr(transform, w) for w in ways if hasattr(transform, w)})
        if name in ('Resize', 'ResizeEdge'):
            transform = copy.copy(transform)
            transform.scale = min(size) if name == 'ResizeEdge' else size
        return change_inside(transform, lambda held: _uncropped(held, size))

    return [change(transform) for transform in transforms]


def _resized_by_torchvision(transform: Any, name: str, size: tuple[int, int]) -> Any:
    """A copy of mmpretrain's wrapper of a torchvision transform that resizes to one size."""
    new = copy.copy(transform)
    if name == 'Resize':
        new.t = copy.copy(transform.t)
        new.t.size = min(size) if isinstance(transform.t.size, int) else list(size)
    else:
        new.t = importlib.import_module('torchvision.transforms').Resize(list(size))
    return new


def first_sample(dataset: Any) -> dict | None:
    """What a dataset's pipeline gets for its first sample; None if that is not available."""
    new, look = copy.copy(dataset), Look()
    new.pipeline, new.test_mode = look, True
    with contextlib.suppress(Exception):  # the dataset will raise it again during evaluation
        new[0]
    return look.seen[0] if look.seen and isinstance(look.seen[0], dict) else None


def _try(
    place: Callable[..., Transforms],
    step: Any,
    transforms: Sequence,
    landmarks: Landmarks,
    sample: dict,
) -> str:
    """Try on a sample what `with_cells` makes, and fit the step to it; returns the channel order."""
    look = Look()
    to_look = on_the_fly(transforms, look, landmarks)
    plainly = _loads_plainly(to_look, look)
    if place is not from_files and isinstance(step, CorruptImage):
        if plainly and place is on_the_fly:
            with contextlib.suppress(OSError), Image.open(sample.get('img_path') or '') as image:
                _check_size(image)
        else:
            _check_sizes(place(transforms, size := Look(), landmarks), size, sample)
    if plainly:
        return 'bgr'
    to_look = copied(to_look)
    if place is on_the_fly and isinstance(step, CorruptImage):
        return fit(step, to_look, look, sample)
    if place is from_files and landmarks.classifies:
        _check_uncropped(transforms, landmarks, sample)
    with contextlib.suppress(InputError):  # irrelevant if nothing will be corrupted
        if colour_orders(to_look, look, sample) == {'rgb'}:
            return 'rgb'
    return 'bgr'


def _check_sizes(transforms: Sequence, look: Look, sample: dict) -> None:
    """Check that the first image is large enough where ``look`` stands."""
    run(copied(transforms), sample)
    for image in map(picture_in, look.seen):
        if isinstance(image, np.ndarray | Image.Image):
            _check_size(image)


def _check_size(image: np.ndarray | Image.Image) -> None:
    width, height = image.size if isinstance(image, Image.Image) else image.shape[1::-1]
    if min(width, height) < MIN_SIDE:
        raise InputError(
            f'the image to corrupt has {width}x{height} pixels, but the corruptions need '
            f'{MIN_SIDE}x{MIN_SIDE} or more at this point'
        )


def _loads_plainly(transforms: Sequence, look: Look) -> bool:
    """Whether ``look`` sees the output of mmcv's own loader, so that nothing needs to be found out."""
    found = flatten(transforms)
    at = next((i for i, t in enumerate(found) if t is look), 0)
    loader: Any = found[at - 1] if at else None
    return (
        type(loader) is LoadImageFromFile
        and loader.color_type == 'color'
        and loader.imdecode_backend in ('cv2', 'pillow', 'turbojpeg')
    )


def fit(step: CorruptImage, transforms: Sequence, look: Look, sample: dict) -> str:
    """Set the channel order of a corruption to that of the image at its position.

    If the pipeline cannot be run up to that position, nothing is changed; it will raise when used.

    Args:
        step: the corruption; its ``channel_order`` is given for an image with blue first, as mm loads it,
            and is changed if red comes first.
        transforms: the pipeline's transforms, with ``look`` in place of the step.
        look: see above.
        sample: a sample of the dataset.

    Returns:
        The order: 'rgb' or 'bgr'.

    Raises:
        InputError: the image cannot be corrupted in the form that it has there, or nothing tells
            the order of its colours.
    """
    run(transforms, sample)
    if not look.seen:
        return 'bgr'
    for results in look.seen:
        step.check(results)
        grey_levels(results['img'])
    orders = colour_orders(transforms, look, sample)
    if len(orders) > 1:
        raise InputError(
            'red comes first in some of the images made from a sample, blue in others: use the '
            'same order in all branches of the pipeline'
        )
    if orders != {'rgb'}:
        return 'bgr'
    step.channel_order = _RED_FIRST[step.channel_order]
    return 'rgb'


def _check_uncropped(transforms: Sequence, landmarks: Landmarks, sample: dict) -> None:
    """Check that no transform, whatever its name, crops files that are crops already."""
    frame, look = Frame(), Look()
    uncropped = from_files(transforms, lambda results: results, landmarks)
    framed = insert(uncropped, frame, landmarks.loads, after=True)
    run(copied(insert(framed, look, landmarks.packs, after=False)), sample)
    if any(frame.is_cut(results) for results in look.seen):
        names = ', '.join(names_of(t)[0] for t in flatten(transforms))
        raise InputError(
            'the files of --corrupted-root are already cropped, but the pipeline cuts off their edges '
            f'({names}): only {" or ".join(_CENTRE_CROPS)} can be left out'
        )


def with_cells(
    dataset: Any,
    make_step: Callable[[], Any],
    place: Callable[..., Transforms],
    corrupts: bool = True,
) -> tuple[Any, list[CellPipeline]]:
    """Copy a dataset such that it can be moved from cell to cell.

    Args:
        dataset: any mm dataset; wrappers (ConcatDataset, RepeatDataset, ...) are followed.
        make_step: builds the corrupting transform, one per pipeline.
        place: `on_the_fly`, `as_the_model_gets_it` or `from_files`.
        corrupts: whether there will be corrupted cells, which require images of a form and size that can
            be corrupted.

    Returns:
        The copy, and its pipelines; `CellPipeline.move_to` switches the copy to another cell.

    Raises:
        InputError: a dataset has no pipeline, or one that corrupts already, or with no position for the
            corruption, or the image has a form there that cannot be corrupted (`fit`).
    """
    new = copy.copy(dataset)
    if hasattr(dataset, 'datasets'):
        copies = [with_cells(d, make_step, place, corrupts) for d in dataset.datasets]
        new.datasets = [d for d, _ in copies]
        return new, [pipeline for _, found in copies for pipeline in found]
    if hasattr(dataset, 'dataset'):
        new.dataset, pipelines = with_cells(dataset.dataset, make_step, place, corrupts)
        return new, pipelines
    clean: Any = getattr(dataset, 'pipeline', None)
    if not hasattr(clean, 'transforms'):
        raise InputError(
            f'{type(dataset).__name__} has no pipeline to insert a corruption into: use a dataset '
            'of mmpretrain, mmseg or mmdet, or one derived from BaseDataset of mmengine'
        )
    corrupts_already = [
        type(t).__name__ for t in flatten(clean.transforms) if _CORRUPTING & {*names_of(t)}
    ]
    if corrupts_already:
        raise InputError(
            f'the pipeline of {type(dataset).__name__} has {corrupts_already[0]}, which also corrupts the clean '
            'images: remove it'
        )
    step = make_step()
    sample = first_sample(dataset)
    landmarks = landmarks_of(clean.transforms, dataset, sample)
    corrupted = place(clean.transforms, step, landmarks)
    if not any(t is step for t in flatten(corrupted)):
        names = ', '.join(type(t).__name__ for t in flatten(clean.transforms))
        raise InputError(
            f'no position for a corruption in the pipeline of {type(dataset).__name__} ({names}): '
            'it needs a LoadImageFromFile or, if the dataset holds the image, a transform that '
            'packs it'
        )
    order = 'bgr'
    if sample is not None:
        try:
            order = _try(place, step, clean.transforms, landmarks, sample)
        except InputError as error:
            if corrupts:
                raise InputError(f'{type(dataset).__name__}: {error}') from None
    new.pipeline = CellPipeline(clean, Compose(corrupted), step, order)
    # Unless in test mode, mmengine replaces samples that are None by random other ones.
    new.test_mode = True
    return new, [new.pipeline]
