"""Pictures of a sweep: the model's input, its prediction and the ground truth, for some samples.

They are made during the evaluation, by the rank that has the sample; rank 0 writes them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import torch

from fan_mm.corruptions import image_key
from fan_mm.engine.first_batch.samples import one_line
from fan_mm.evaluation.cells import CLEAN, Cell, CellRecord, CellStore
from fan_mm.evaluation.samples import spread
from fan_mm.images import no_wider
from fan_mm.logs import warn

MAX_WIDTH = 640
SEVERITY = 3  # shown where only one severity is shown

Painter = Callable[[np.ndarray, Any], Mapping[str, np.ndarray]]


class Gallery:
    """Which images are kept, and how they are painted.

    Args:
        count: number of samples, evenly spaced over the dataset.
        paint: maps the model's input (RGB uint8 ``(H, W, 3)``) and the predicted data sample to RGB
            pictures: 'image', 'prediction' and, if known, 'ground_truth' and 'error'.
        severities: severities of all corruptions in the sweep. For each corruption, the cell of severity
            3, or of the nearest below, must have images; other cells get them when they are evaluated.
        samples: number of samples in the sweep.
        channel_order: channel order of the model's input: 'bgr' or 'rgb'.
    """

    def __init__(
        self,
        count: int,
        paint: Painter,
        severities: Mapping[str, Sequence[int]],
        samples: int,
        channel_order: str = 'bgr',
    ) -> None:
        self.channel_order = channel_order
        self.positions = set(spread(samples, count))
        self.paint = paint
        self.cells = {CLEAN} | {Cell(name, _middle(levels)) for name, levels in severities.items()}

    def take(
        self, cell: Cell, positions: Sequence[int], batch: Mapping, outputs: Sequence
    ) -> dict[int, dict[str, bytes]]:
        """Paint what is wanted of one batch.

        Images never make a cell fail: if something cannot be painted, a warning is logged and no
        further images are made.

        Args:
            cell: the cell that is being evaluated.
            positions: positions of the batch's samples in the sweep.
            batch: from the loader; 'inputs' holds tensors ``(3, H, W)`` or ``(1, H, W)`` from 0 to 255.
            outputs: the predicted data samples.

        Returns:
            position -> image -> JPEG file.
        """
        try:
            return self._take(cell, positions, batch, outputs)
        except Exception as error:  # input and painter are user code
            self.positions = set()
            warn(f'no images: {one_line(error)}')
            return {}

    def _take(
        self, cell: Cell, positions: Sequence[int], batch: Mapping, outputs: Sequence
    ) -> dict[int, dict[str, bytes]]:
        taken = {}
        for position, image, output in zip(positions, batch['inputs'], outputs, strict=True):
            if position in self.positions and isinstance(image, torch.Tensor):
                pixels = image.cpu().numpy().transpose(1, 2, 0).astype(np.uint8)
                rgb = pixels[..., ::-1] if self.channel_order == 'bgr' else pixels
                # expand grey images to three channels
                rgb = np.ascontiguousarray(np.broadcast_to(rgb, (*rgb.shape[:2], 3)))
                painted = self.paint(rgb, output)
                taken[position] = {
                    name: encode(picture)
                    for name, picture in painted.items()
                    if cell == CLEAN or name != 'ground_truth'
                }
        return taken


def encode(picture: np.ndarray) -> bytes:
    """JPEG file of an RGB image ``(H, W, 3)``, made smaller if it is wider than `MAX_WIDTH`."""
    picture = no_wider(picture, MAX_WIDTH)[..., ::-1]
    _, data = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return data.tobytes()


def commented(jpeg: bytes, text: str) -> bytes:
    """A JPEG file with a comment (ITU-T T.81, B.2.4.5), behind its JFIF header, which must come first."""
    comment = text.encode()
    end = 4 + int.from_bytes(jpeg[4:6], 'big') if jpeg[2:4] == b'\xff\xe0' else 2
    return b'%b\xff\xfe%b%b%b' % (
        jpeg[:end],
        (len(comment) + 2).to_bytes(2, 'big'),
        comment,
        jpeg[end:],
    )


def file_name(cell: Cell, position: int, picture: str) -> str:
    """Where an image lies below the work dir."""
    return f'images/{cell.corruption}_{cell.severity}/{position:06d}_{picture}.jpg'


def stored(
    store: CellStore, cell: Cell, taken: Mapping[int, Mapping[str, bytes]], paths: Sequence[str]
) -> list[dict[str, str]]:
    """Write the images of a cell that `Gallery.take` gave on all ranks; returns the 'images' of its record.

    A comment in each file identifies its protocol and cell.
    """
    about = f'{store.protocol}, {cell}'
    return [
        {
            'key': image_key(paths[position]),
            **{
                name: store.put_image(file_name(cell, position, name), commented(data, about))
                for name, data in files.items()
            },
        }
        for position, files in sorted(taken.items())
    ]


def _middle(levels: Iterable[int]) -> int:
    """Severity 3, or the nearest below it, or the least."""
    levels = sorted(levels)
    return max((s for s in levels if s <= SEVERITY), default=levels[0])


def one_of_each(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the entries of results.json one severity of each sample and corruption, 3 or the nearest below."""
    levels: dict[tuple, list[int]] = {}
    for entry in entries:
        levels.setdefault((entry['key'], entry['corruption']), []).append(entry['severity'])
    middle = {key: _middle(found) for key, found in levels.items()}
    return [e for e in entries if e['severity'] == middle[e['key'], e['corruption']]]


def entries(records: Sequence[CellRecord]) -> list[dict[str, Any]]:
    """The 'gallery' of results.json: one entry per sample and corrupted cell with images."""
    clean = {
        image['key']: image for record in records if record.cell == CLEAN for image in record.images
    }
    found = []
    for record in records:
        if record.cell == CLEAN:
            continue
        for image in record.images:
            before = clean.get(image['key'], {})
            pictures = {
                'clean': before.get('image'),
                'corrupted': image.get('image'),
                'prediction_clean': before.get('prediction'),
                'prediction_corrupted': image.get('prediction'),
                'error_clean': before.get('error'),
                'error_corrupted': image.get('error'),
                'ground_truth': before.get('ground_truth'),
            }
            found.append(
                {
                    'key': image['key'],
                    'corruption': record.corruption,
                    'severity': record.severity,
                    'images': {name: path for name, path in pictures.items() if path},
                }
            )
    return found
