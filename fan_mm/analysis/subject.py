"""The backbone of any config with its weights and its model's preprocessing, for the analyses."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from fan_mm.corruptions import corrupt, image_key, seed_for
from fan_mm.engine.config.building import building, used_so
from fan_mm.engine.first_batch.samples import one_line
from fan_mm.engine.predictor import drop_data
from fan_mm.engine.runtime import prepare_runtime
from fan_mm.errors import InputError, about, is_of_memory
from fan_mm.evaluation.samples import spread
from fan_mm.fileio import shortened
from fan_mm.images import find_images, read_image
from fan_mm.logs import warn
from fan_mm.models.checkpoints import (
    CheckpointedBackbone,
    find_module,
    load_pretrained,
    load_strictly,
)
from fan_mm.models.weight_tree import WeightTree
from fan_mm.report.labels import corruption_label
from fan_mm.torch_files import read_torch_file

SIZE = (448, 448)  # pixels, (H, W): the paper's
TITLE_ROOM = 224  # pixels
_STEM = 240  # bytes of a file name without number and suffix


class Subject:
    """The backbone of a config for mmseg, mmdet or mmpretrain, and the model's own preprocessing.

    Args:
        cfg: the config; modified in place.
        checkpoint: weights of the whole model or of the backbone alone; for a FAN, official files
            as they are.
        name: what figures call it; None for the config's file name without suffix.

    Attributes:
        name: see above.
        backbone: in eval mode, on the GPU if there is one.

    Raises:
        InputError: a mistake in the config, or a checkpoint that does not fit it.
    """

    def __init__(self, cfg: Config, checkpoint: str, name: str | None = None) -> None:
        self.name = name or Path(cfg.filename or 'model').stem
        drop_data(cfg)
        if 'backbone' not in cfg.get('model', {}):
            raise InputError(f'{cfg.filename or "the config"} has no model.backbone')
        prepare_runtime(cfg)
        scope = cfg.get('default_scope', 'mmengine')
        preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
        if scope == 'mmpretrain':
            preprocessor.setdefault('type', 'ClsDataPreprocessor')
        elif 'type' not in preprocessor:
            preprocessor = dict(type='mmengine.ImgDataPreprocessor')
        backbone = cfg.model.backbone
        if 'init_cfg' in backbone:
            backbone.init_cfg = None
        with building(cfg), DefaultScope.overwrite_default_scope(scope):
            self.backbone = MODELS.build(backbone)
            self._preprocessor = MODELS.build(preprocessor)
        _load(self.backbone, checkpoint)
        self.backbone.to(get_device()).eval()
        self._preprocessor.to(get_device())

    def prepare(self, image: np.ndarray) -> Tensor:
        """The backbone's input (1, 3, H', W') for an image, uint8 RGB (H, W, 3).

        Raises:
            InputError: the model's preprocessing takes something else.
        """
        pixels = torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))
        # mmseg's notes in them how it has padded
        data = dict(inputs=[pixels], data_samples=[BaseDataElement()])
        what = f'data_preprocessor: {type(self._preprocessor).__name__}'
        with used_so(f'{what} does not take a single image'):
            inputs = self._preprocessor(data, False)['inputs']
        if not isinstance(inputs, Tensor):
            raise InputError(f'{what} gives no images as a tensor, but a {type(inputs).__name__}')
        return inputs

    @torch.inference_mode()
    def __call__(self, inputs: Tensor) -> None:
        """Run the backbone, whose hooks record what is asked for.

        Raises:
            InputError: its features are not finite or do not fit into memory, or a third-party backbone
                does not accept the size.
        """
        height, width = inputs.shape[-2:]
        try:
            with fitting_memory(f'an image of {height}x{width}'):
                features = self.backbone(inputs)
        except (RuntimeError, AssertionError, ValueError) as error:
            if isinstance(error, InputError) or isinstance(self.backbone, CheckpointedBackbone):
                raise
            raise InputError(
                f'{type(self.backbone).__name__} does not accept {height}x{width} pixels ({one_line(error)}): '
                'use another --size'
            ) from None
        outputs = features if isinstance(features, list | tuple) else [features]
        if not all(o.isfinite().all() for o in outputs if isinstance(o, Tensor)):
            raise InputError(
                f'{self.name} computes features that are not finite: its checkpoint is damaged'
            )


def _load(backbone: nn.Module, checkpoint: str) -> None:
    if isinstance(backbone, CheckpointedBackbone):
        load_pretrained(backbone, checkpoint, ask=None)
        return
    with about(checkpoint):
        tree = WeightTree(read_torch_file(checkpoint))
        state = tree.below(find_module(tree, backbone, prefer=('ema', 'model')))
    load_strictly(backbone, state, f'{checkpoint} does not match the backbone')


@contextlib.contextmanager
def fitting_memory(what: str) -> Iterator[None]:
    """Turn an error of too little memory into an `InputError` that says for what."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_of_memory(error) and 'overflow' not in str(error).lower():  # torch's, of sizes
            raise
        raise InputError(f'not enough memory for {what}: choose a smaller size') from None


def parse_models(arguments: Sequence[str]) -> list[tuple[str, str, str]]:
    """Pairs of CONFIG CHECKPOINT with distinct names.

    A name is the config's; if that is not unique also the checkpoint's, and then its folder's.

    Returns:
        Config, checkpoint and name of each model.

    Raises:
        InputError: they are not pairs, or one pair is given twice.
    """
    if not arguments or len(arguments) % 2:
        raise InputError('give models as pairs of CONFIG CHECKPOINT')
    pairs = list(zip(arguments[::2], arguments[1::2], strict=True))
    if len(set(pairs)) < len(pairs):
        raise InputError('the same CONFIG CHECKPOINT is given twice')
    stems = [Path(config).stem for config, _ in pairs]
    files = [Path(checkpoint).with_suffix('') for _, checkpoint in pairs]
    names = stems
    for parts in (1, 2):
        longer = ['/'.join(file.parts[-parts:]) for file in files]
        names = [
            f'{stem} ({file})' if names.count(name) > 1 else name
            for stem, name, file in zip(stems, names, longer, strict=True)
        ]
    configs, checkpoints = zip(*pairs, strict=True)
    return list(zip(configs, checkpoints, distinct(names), strict=True))


def load_pictures(
    paths: Sequence[str | os.PathLike], size: tuple[int, int], count: int | None = None
) -> dict[Path, np.ndarray]:
    """Read images and resize them, as the paper does, to one size whatever their shape.

    What cannot be read in a folder is left out, and named in the log.

    Args:
        paths: files, and folders that are searched.
        size: (H, W) in pixels.
        count: the most to read, evenly spaced over what is found; None for all.

    Returns:
        File -> uint8 RGB (H, W, 3).

    Raises:
        InputError: no images that can be read, or a file that cannot.
    """
    files = [file for path in paths for file, _ in find_images(path)]
    asked = {Path(path) for path in paths}
    if count is not None:
        files = [files[i] for i in spread(len(files), count)]
    pictures = {}
    for file in files:
        image = read_image(file)
        if image is None:
            if file in asked or len(files) == 1:
                raise InputError(f'{file} cannot be read as an image')
            warn(f'left out: {file} cannot be read as an image')
            continue
        shrink = image.shape[0] > size[0]
        way = cv2.INTER_AREA if shrink else cv2.INTER_CUBIC
        pictures[file] = cv2.resize(image, size[::-1], interpolation=way)
    if not pictures:
        raise InputError(f'none of {len(files)} files, such as {files[0]}, can be read as an image')
    return pictures


def distinct(names: Iterable[str]) -> Iterator[str]:
    """The names in order; a repeated one gets a number: a, b, a_2."""
    seen = set()
    for name in names:
        new, number = name, 2
        while new in seen:
            new, number = f'{name}_{number}', number + 1
        seen.add(new)
        yield new


def file_stem(path: str | os.PathLike) -> str:
    """Base name of the figures of an image: 'folder_stem', or 'stem' where the path names no folder."""
    return shortened(picture_name(path).replace('/', '_'), _STEM)


def picture_name(path: str | os.PathLike) -> str:
    """An image's name in tables: its key, without a folder if the path names none or only ``..``."""
    return '/'.join(part for part in image_key(path).split('/') if part.strip('.'))


def corrupt_picture(
    image: np.ndarray, path: str | os.PathLike, name: str, severity: int, seed: int
) -> np.ndarray:
    """Corrupt what the network sees: the strength of most corruptions depends on the size."""
    return corrupt(image, name, severity, seed=seed_for(seed, image_key(path), name, severity))


def condition_label(name: str, severity: int) -> str:
    """('snow', 3) -> 'Snow 3'."""
    return f'{corruption_label(name)} {severity}'


def enlarge(image: np.ndarray) -> np.ndarray:
    """Repeat the pixels of a small image so often that there is room for its title."""
    times = -(-TITLE_ROOM // min(image.shape[:2]))
    return image.repeat(times, 0).repeat(times, 1)
