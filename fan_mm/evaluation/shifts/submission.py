"""Submissions: predictions of a split whose labels are withheld, as the benchmark's server takes them.

A `Submission` is a folder with the files of each image and, when finished, a zip of them. Files are
written atomically, one image after the other, so an interrupted run can continue, several processes can
add images, and only one prediction is held in memory::

    submission = Submission('acdc', folder, {'checkpoint_sha256': digest})
    for image in submission.missing(images):      # what a stopped run has left to do
        submission.add(image, labels, confidence)  # trainIds (H, W) in the picture's own size
    done = submission.finish(images)               # on one process: zips, and checks the zip
    print(done.zip, *done.remarks)                 # what the server will not take, such as a part of a split

or, for an iterator of predictions, ``write_submission('acdc', predictions, folder)``.

The servers' rules (`SERVERS`) come from the sets' documentation and from repositories that submit to them;
each record states what is uncertain.
"""

import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fan_mm.datasets.shifts.label_maps import label_map
from fan_mm.errors import InputError
from fan_mm.few_names import few_and_more
from fan_mm.fileio import whole_file, write_whole
from fan_mm.images import read_header

_CLASSES = 19
_CONFIDENT = 65535  # stored value of confidence 1.0
_MEGABYTE = 1_000_000


def _ids_of(encoding: str, instead: Mapping[int, int] | None = None) -> tuple[int, ...]:
    """The value of each trainId ``(19,)`` in an encoding that has one, or ``instead``, of each."""
    values = {train_id: value for value, train_id in label_map(encoding).train_ids.items()}
    return tuple({**values, **(instead or {})}[i] for i in range(_CLASSES))


@dataclass(frozen=True)
class Server:
    """The format that one server accepts.

    Attributes:
        title: name of the data set.
        picture: regular expression for an image's folder and name, ``folder/name.png``.
        files: path in the zip, with the groups of ``picture`` -> content of the file: 'labels' (8 bits)
            or 'confidence' (16 bits).
        values: the server's label for each of the 19 trainIds.
        count: number of images in the split; None if unknown.
        sizes: widths and heights in pixels that occur in the split.
        limit: maximum size of a zip in bytes; None if unknown.
        remark: restrictions and uncertainties.
    """

    title: str
    picture: str
    files: Mapping[str, str]
    values: tuple[int, ...] = tuple(range(_CLASSES))
    count: int | None = None
    sizes: tuple[tuple[int, int], ...] = ((1920, 1080),)
    limit: int | None = None
    remark: str = ''

    @property
    def confidence(self) -> bool:
        """Whether predictions need a confidence."""
        return 'confidence' in self.files.values()

    def names(self, image: str | os.PathLike) -> dict[str, str]:
        """Paths in the zip of a picture's files, and what each holds.

        Raises:
            InputError: the image is none of this set.
        """
        path = Path(image)
        match = re.fullmatch(self.picture, f'{path.parent.name}/{path.name}')
        if match is None:
            raise InputError(
                f'{path}: this is not a name of an image that the server of {self.title} scores'
            )
        return {name.format(**match.groupdict()): kind for name, kind in self.files.items()}


_PICTURE = r'\.(?i:png|jpe?g)'  # local copies may have the other format
_FRAME = r'[^/]*/(?P<id>[^/]+_frame_\d{6}_rgb_anon)' + _PICTURE
SERVERS: dict[str, Server] = {
    'acdc': Server(
        'ACDC', _FRAME, {'labelTrainIds/{id}.png': 'labels'}, count=2000
    ),  # all conditions; the subset is selected on the server
    'dark_zurich': Server(
        'Dark Zurich',
        _FRAME,
        {
            'labelTrainIds/{id}.png': 'labels',
            'labelTrainIds_invalid/{id}.png': 'labels',  # a copy, so no pixel is marked as invalid
            'confidence/{id}.png': 'confidence',
        },
        count=151,
        remark='labelTrainIds_invalid is a copy of labelTrainIds, which the server accepts: '
        'UIoU then equals IoU',
    ),
    'muses': Server(
        'MUSES',
        r'[^/]*/(?P<id>REC\d{4}_frame_\d{6})_frame_camera' + _PICTURE,
        {'labelTrainIds/{id}.png': 'labels'},
        count=750,
        limit=200 * _MEGABYTE,
    ),
    'cityscapes': Server(
        'Cityscapes',
        r'[^/]*/(?P<id>[^/_]+_\d{6}_\d{6})_leftImg8bit' + _PICTURE,
        {'{id}_labelIds.png': 'labels'},
        values=_ids_of('label_ids'),
        count=1525,
        sizes=((2048, 1024),),
        limit=100 * _MEGABYTE,
        remark='the limit of 100 MB is not verified',
    ),
    'bdd100k': Server(
        'BDD100K',
        r'[^/]*/(?P<id>[^/]+)\.(?i:jpe?g)',
        {'{id}.png': 'labels'},
        count=2000,
        sizes=((1280, 720),),
    ),
    'idd': Server(
        'IDD',
        r'(?P<drive>[^/]+)/(?P<id>[^/]+)_leftImg8bit' + _PICTURE,
        {'{drive}/{id}_gtFine_labellevel3Ids.png': 'labels'},
        values=_ids_of('idd_level3', {9: 3, 16: 12}),
        sizes=((1920, 1080), (1280, 720)),
        remark='level 3 has 26 classes, of which a model of the 19 Cityscapes classes predicts 19: terrain '
        'becomes 3 (rail track, non-drivable fallback), train 12 (caravan, trailer, train, other '
        'vehicles), sky 25 (with the fallback background); 1, 8, 13, 16, 17, 21 and 23 never occur',
    ),
}


@dataclass(frozen=True)
class Submitted:
    """A zip whose files all have the server's format.

    Attributes:
        zip: path of the file.
        files: number of files in it.
        remarks: reasons for which the server will reject it, and other notes, one per line.
    """

    zip: Path
    files: int
    remarks: tuple[str, ...]


class Submission:
    """The files of one submission, ``folder/SERVER/...``, and their zip ``folder/SERVER.zip``.

    Args:
        server: key of `SERVERS`.
        folder: created if missing; an interrupted submission with the same identity is continued.
        identity: what the predictions depend on, such as hashes of weights and config; JSON values.

    Raises:
        InputError: no such server, or the folder holds predictions of another identity.
    """

    def __init__(
        self, server: str, folder: str | os.PathLike, identity: Mapping[str, object] | None = None
    ) -> None:
        if server not in SERVERS:
            raise InputError(f'{server}: submissions are known for {", ".join(SERVERS)}')
        self.server = SERVERS[server]
        self.folder = Path(folder, server)
        self.zip = Path(folder, f'{server}.zip')
        self._claim(Path(folder, f'{server}.json'), dict(identity or {}))

    def _claim(self, file: Path, identity: dict) -> None:
        text = (
            json.dumps({'server': self.server.title, **identity}, indent=2, sort_keys=True) + '\n'
        )
        began = (
            self.folder.exists()
        )  # checked first: another process writes the file before it creates the folder
        if not file.exists():
            if began:
                raise InputError(
                    f'{self.folder} does not belong to a submission: give another folder'
                )
            write_whole(file, text)
        elif file.read_text(errors='replace') != text:
            raise InputError(
                f'{self.folder} contains predictions of other weights or another config ({file.name}): '
                f'remove it with {file.name}, or give another folder'
            )

    def missing(self, images: Iterable[str | os.PathLike]) -> list[str | os.PathLike]:
        """The images some of whose files are missing.

        Raises:
            InputError: an image is none of this set, or two would have the same file.
        """
        images = list(images)
        _expected(self.server, images)
        return [
            image
            for image in images
            if not all((self.folder / name).is_file() for name in self.server.names(image))
        ]

    def add(
        self, image: str | os.PathLike, labels: np.ndarray, confidence: np.ndarray | None = None
    ) -> None:
        """Write the files of one image; those that are there are replaced.

        Args:
            image: path of the image.
            labels: trainIds ``(H, W)``, 0 to 18, in the picture's own size.
            confidence: ``(H, W)`` from 0 to 1; only if the server requires it.

        Raises:
            InputError: these are no trainIds, or not in the picture's size; no confidence.
        """
        labels = np.asarray(labels)
        header = read_header(image)
        if header is None:
            raise InputError(f'{image} cannot be read as an image')
        _check_prediction(image, labels, header.size)
        content = {'labels': np.array(self.server.values, np.uint8)[labels]}
        if self.server.confidence:
            content['confidence'] = _sixteen_bits(image, confidence, labels.shape)
        coded = {kind: cv2.imencode('.png', p)[1].tobytes() for kind, p in content.items()}
        for name, kind in self.server.names(image).items():
            write_whole(self.folder / name, coded[kind])

    def finish(self, images: Iterable[str | os.PathLike]) -> Submitted:
        """Write the zip of some pictures' files, and check it before it gets its name.

        Raises:
            InputError: a picture's file is missing, or not what the server takes.
        """
        images = list(images)
        if absent := self.missing(images):
            raise InputError(f'{self.folder}: no prediction of {few_and_more(absent, 1)}')
        if not images:
            raise InputError(f'{self.folder}: there are no images to submit')
        names = sorted(_expected(self.server, images))
        with whole_file(self.zip) as aside:
            with zipfile.ZipFile(aside, 'w') as archive:  # PNGs are already compressed
                for name in names:
                    entry = zipfile.ZipInfo(name)  # fixed date (1980): reproducible zip files
                    entry.external_attr = 0o644 << 16
                    with open(self.folder / name, 'rb') as file, archive.open(entry, 'w') as into:
                        shutil.copyfileobj(file, into)
            sizes = check_zip(aside, self.server, images)
            remarks = _remarks(self.server, len(images), sizes, aside.stat().st_size)
        return Submitted(self.zip, len(names), remarks)


def write_submission(
    server: str,
    predictions: Iterable[tuple[str | os.PathLike, np.ndarray, np.ndarray | None]],
    folder: str | os.PathLike,
    identity: Mapping[str, object] | None = None,
) -> Submitted:
    """Write all predictions of a split: a `Submission` from the first to the last.

    Args:
        server: key of `SERVERS`.
        predictions: path of an image, trainIds ``(H, W)`` and confidence (or None), one by one.
        folder: folder of the submission.
        identity: see `Submission`.

    Raises:
        InputError: see there.
    """
    submission = Submission(server, folder, identity)
    images = []
    for image, labels, confidence in predictions:
        submission.add(image, labels, confidence)
        images.append(image)
    return submission.finish(images)


def check_zip(
    file: str | os.PathLike, server: Server, images: Sequence[str | os.PathLike]
) -> set[tuple[int, int]]:
    """Read a submission back: names and nesting, and of each file pixel type, size and values.

    Returns:
        The sizes (width, height) of the images.

    Raises:
        InputError: what is wrong, with the first file of which it is.
    """
    expected = _expected(server, images)
    with zipfile.ZipFile(file) as archive:
        entries = archive.namelist()
        if absent := expected.keys() - set(entries):
            raise InputError(f'{server.title}: the zip lacks {few_and_more(sorted(absent), 1)}')
        if others := set(entries) - expected.keys():
            raise InputError(
                f'{server.title}: the zip also contains {few_and_more(sorted(others), 1)}'
            )
        if len(entries) != len(expected):
            raise InputError(f'{server.title}: the zip contains names twice')
        sizes = {}
        for name, image in expected.items():
            if image not in sizes:
                header = read_header(image)
                if header is None:
                    raise InputError(f'{image} cannot be read as an image')
                sizes[image] = header.size
            wrong = _fault(archive.read(name), server, server.names(image)[name], sizes[image])
            if wrong:
                raise InputError(f'{server.title}: {name} {wrong}: remove it and run again')
    return set(sizes.values())


def _expected(server: Server, images: Iterable[str | os.PathLike]) -> dict[str, str | os.PathLike]:
    """Path in the zip -> the image that the file belongs to."""
    names: dict[str, str | os.PathLike] = {}
    for image in images:
        for name in server.names(image):
            if name in names:
                raise InputError(f'{server.title}: {names[name]} and {image} would both be {name}')
            names[name] = image
    return names


def _fault(data: bytes, server: Server, kind: str, size: tuple[int, int]) -> str | None:
    """What is wrong with a file of a submission."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if pixels is None or not data.startswith(b'\x89PNG'):
        return 'cannot be read as PNG'
    bits = np.dtype(np.uint8 if kind == 'labels' else np.uint16)
    if pixels.ndim != 2 or pixels.dtype != bits:
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        found = f'{channels} x {8 * pixels.itemsize}'
        return f'has {found} bits per pixel, not 1 x {8 * bits.itemsize}'
    if pixels.shape[::-1] != size:
        return f'has {_by(pixels.shape[::-1])} pixels, the image {_by(size)}'
    if kind == 'labels':
        others = set(np.flatnonzero(np.bincount(pixels.ravel(), minlength=256))) - set(
            server.values
        )
        if others:
            return f'has the value {min(others)}, which is not a class of the server'
    return None


def _check_prediction(image: object, labels: np.ndarray, size: tuple[int, int]) -> None:
    if labels.ndim != 2 or labels.dtype.kind not in 'iu':
        raise InputError(
            f'{image}: a prediction must be (H, W) trainIds, not {labels.shape} {labels.dtype}'
        )
    if labels.shape[::-1] != size:
        raise InputError(
            f'{image}: the prediction has {_by(labels.shape[::-1])} pixels, the image {_by(size)}'
        )
    if labels.min() < 0 or labels.max() >= _CLASSES:
        worst = labels.min() if labels.min() < 0 else labels.max()
        raise InputError(
            f'{image}: class {worst}, but the servers accept the 19 Cityscapes classes, 0 to 18'
        )


def _sixteen_bits(
    image: object, confidence: np.ndarray | None, shape: tuple[int, ...]
) -> np.ndarray:
    """A confidence as its server counts it, 65535 for 1.0."""
    if confidence is None:
        raise InputError(f'{image}: this server needs a confidence per pixel, but there is none')
    confidence = np.asarray(confidence, np.float32)
    if confidence.shape != shape:
        raise InputError(f'{image}: confidence of {confidence.shape} for a prediction of {shape}')
    if not (confidence.min() >= 0 and confidence.max() <= 1 + 1e-5):  # also true for NaN
        raise InputError(f'{image}: a confidence must be from 0 to 1')
    return np.rint(np.minimum(confidence, 1) * _CONFIDENT).astype(np.uint16)


def _remarks(
    server: Server, pictures: int, sizes: Iterable[tuple[int, int]], length: int
) -> tuple[str, ...]:
    """What the server will not accept, though each file is right, and other remarks."""
    remarks = []
    if server.count not in (None, pictures):
        remarks.append(f'{pictures} images: the server needs all {server.count} of the split')
    if others := sorted(set(sizes) - set(server.sizes)):
        wanted = ' or '.join(map(_by, server.sizes))
        remarks.append(f'images of {", ".join(map(_by, others))} pixels: the split has {wanted}')
    if server.limit is not None and length >= server.limit:
        remarks.append(
            f'{length / _MEGABYTE:.0f} MB: the server accepts less than {server.limit // _MEGABYTE}'
        )
    return (*remarks, *filter(None, [server.remark]))


def _by(size: Sequence[int]) -> str:
    return 'x'.join(map(str, size))
