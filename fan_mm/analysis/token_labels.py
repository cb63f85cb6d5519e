"""An STL model's token labels, drawn beside the image (``tools/show_token_labels.py``)."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor

from fan_mm.engine.predictor import Predictor, test_pipeline
from fan_mm.errors import InputError
from fan_mm.evaluation.class_names import readable, short
from fan_mm.evaluation.samples import spread
from fan_mm.fileio import remove_temporaries
from fan_mm.images import find_images, read_image, write_image
from fan_mm.logs import warn
from fan_mm.report.fonts import drawable
from fan_mm.report.labels import share
from fan_mm.report.panels import add_legend, paint_segmentation, side_by_side

Loop = Callable[[Sequence], Iterable]
SIDE = 448  # pixels of a picture's shorter side, at least
# Okabe and Ito's colours, told apart by colour-blind people too.
_PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (120, 120, 120),
)


@torch.inference_mode()
def label_tokens(model: BaseModel, inputs: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The most probable class of every token, and its probability.

    Args:
        model: an ``ImageClassifier`` with a ``TokenLabelHead``, in eval mode.
        inputs: one normalised image (1, 3, H, W).

    Returns:
        Class indices and probabilities, both ``(H / 16, W / 16)``; of the grid that a backbone with
        other strides has.

    Raises:
        InputError: the model has no classifier of tokens, or its tokens do not form a grid.
    """
    if not hasattr(getattr(model, 'head', None), 'token_fc'):
        raise InputError('the model has no token labels: use a config with a TokenLabelHead')
    _, logits = model.head.logits(model.backbone(inputs))
    probabilities = logits[0].float().softmax(-1)
    height, width = inputs.shape[-2:]
    rows = round((len(probabilities) * height / width) ** 0.5)
    if len(probabilities) % max(rows, 1):
        raise InputError(
            f'{len(probabilities)} tokens of a {height}x{width} image do not form a grid'
        )
    confidence, labels = probabilities.max(-1)
    return labels.view(rows, -1).cpu().numpy(), confidence.view(rows, -1).cpu().numpy()


def paint_labels(
    image: np.ndarray,
    labels: np.ndarray,
    confidence: np.ndarray,
    names: Sequence[object],
) -> np.ndarray:
    """Image, token labels and confidence side by side, with a legend of the most common classes.

    Eight classes get a colour; the rest stays unpainted.

    Args:
        image: uint8 RGB ``(H, W, 3)``, what the model saw.
        labels: class of every token ``(h, w)``.
        confidence: its probability ``(h, w)``.
        names: of all classes.
    """
    scale = max(1, -(-SIDE // min(image.shape[:2])))
    size = (image.shape[1] * scale, image.shape[0] * scale)
    image = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    classes, counts = np.unique(labels, return_counts=True)
    classes = classes[np.argsort(-counts, kind='stable')][: len(_PALETTE)]
    places = np.full(labels.shape, 255, np.uint8)
    for place, index in enumerate(classes):
        places[labels == index] = place
    palette = _PALETTE[: len(classes)]
    painted = paint_segmentation(
        image, cv2.resize(places, size, interpolation=cv2.INTER_NEAREST), palette
    )
    heat = cv2.resize(confidence.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    heat = cv2.applyColorMap(np.uint8(255 * heat), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    mean = float(confidence.mean())
    row = side_by_side(
        [image, painted, np.ascontiguousarray(heat)],
        ['image', 'token labels', f'confidence, 0 to 1, mean {mean:.2f}'],
    )
    captions = [f'{names[i]} {share((labels == i).mean())}' for i in classes]
    return add_legend(row, captions, palette)


def paint_token_labels(
    cfg: Config,
    checkpoint: str,
    path: str | os.PathLike,
    out: str | os.PathLike,
    count: int = 8,
    loop: Loop = iter,
) -> list[Path]:
    """Paint the token labels of image files.

    Args:
        cfg: a config with a ``TokenLabelHead``; modified in place.
        checkpoint: path of the weights.
        path: an image, or a folder of images.
        out: output folder.
        count: at most so many images, evenly spaced over the folder.
        loop: wraps the loop over the images, to show the progress.

    Returns:
        The images written.

    Raises:
        InputError: a mistake in the config or in a path, no images are asked for, or none of them
            can be read.
    """
    files, out = find_images(path, out), Path(out)
    files = [files[i] for i in spread(len(files), count)]
    predictor = Predictor(cfg, checkpoint)
    pipeline = test_pipeline(predictor)
    names = drawable(short(readable(predictor.metainfo['classes']))) or range(10**6)
    device = next(predictor.model.parameters()).device
    remove_temporaries(*{(out / relative).parent for _, relative in files})
    written = []
    for file, relative in loop(files):
        if read_image(file) is None:
            if len(files) > 1:
                warn(f'left out: {file} cannot be read as an image')
                continue
            raise InputError(f'{file} cannot be read as an image')
        packed = pipeline({'img_path': str(file)})
        seen = packed['inputs']  # uint8 BGR (3, H, W): what the model sees, resized and cropped
        batch = predictor.model.data_preprocessor(dict(inputs=seen[None].to(device)), False)
        labels, confidence = label_tokens(predictor.model, batch['inputs'])
        image = np.ascontiguousarray(seen.permute(1, 2, 0).numpy()[..., ::-1])
        if relative.suffix != '.png':  # and not with_suffix: x.jpg may lie beside x.png
            relative = relative.with_name(f'{relative.name}.png')
        written.append(out / relative)
        write_image(written[-1], paint_labels(image, labels, confidence, names))
    if not written:
        raise InputError(f'none of the {len(files)} images of {path} can be read')
    return written
