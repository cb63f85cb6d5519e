"""Predictions on clean and corrupted images, images and videos (FAN paper Figures 6 and 8)."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from PIL import Image

from fan_mm.analysis.subject import condition_label, corrupt_picture, distinct, enlarge, file_stem
from fan_mm.datasets.transforms import CorruptImage
from fan_mm.engine.checks.class_orders import differing
from fan_mm.engine.first_batch.samples import load_samples
from fan_mm.engine.predictor import Predictor, test_dataset, test_pipeline
from fan_mm.errors import InputError
from fan_mm.evaluation.loading.picture_flow import Look, copied, painted_file
from fan_mm.evaluation.loading.pictures import load_picture, loader_in
from fan_mm.evaluation.pipelines import fit, on_the_fly
from fan_mm.evaluation.samples import spread
from fan_mm.fileio import remove_temporaries, whole_file
from fan_mm.images import find_images, no_wider, read_image, write_image
from fan_mm.report.fonts import drawable
from fan_mm.report.labels import share
from fan_mm.report.painters import colours_of
from fan_mm.report.panels import WRONG, add_legend, paint_segmentation, paint_wrong, side_by_side

LOST, NEVER = WRONG, (245, 166, 35)  # colours of errors, RGB
VIDEO_WIDTH = 1920  # pixels, at most
VIDEO_CODECS = {'.mp4': 'mp4v', '.avi': 'MJPG', '.gif': ''}
LEGEND = 32  # classes at most


class Segmentor:
    """A segmentation model that predicts for an image file and for its corrupted version.

    Args:
        cfg: of mmseg; modified in place.
        checkpoint: weights.
        corruption: name.
        severity: 1 to 5.
        seed: base seed.
        name: what images call it; None for the config's file name without suffix.

    Raises:
        InputError: a mistake in the config, or it is not for mmseg.
    """

    def __init__(
        self,
        cfg: Config,
        checkpoint: str,
        corruption: str,
        severity: int,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        self.name = name or Path(cfg.filename or 'model').stem
        self.predictor = Predictor(cfg, checkpoint)
        if self.predictor.scope != 'mmseg':
            raise InputError(
                f'{self.name} is a {self.predictor.scope} model, but this tool needs segmentation'
            )
        clean = test_pipeline(self.predictor)
        self.loader = loader_in(clean.transforms)
        step, look = CorruptImage(corruption, severity, seed), Look()
        with painted_file() as file:  # whether its loader leaves red or blue first
            fit(step, copied(on_the_fly(clean.transforms, look)), look, {'img_path': file})
        self._pipelines = clean, Compose(on_the_fly(clean.transforms, step))

    def __call__(self, file: Path) -> tuple[np.ndarray, np.ndarray]:
        """Class labels (H, W) of the clean and of the corrupted image."""
        clean, corrupted = (
            self._labels(self.predictor(pipeline({'img_path': str(file)})), 'pred_sem_seg')
            for pipeline in self._pipelines
        )
        return clean, corrupted

    def _labels(self, sample: Any, name: str) -> np.ndarray:
        if name not in sample:
            held = ', '.join(sorted(sample.keys()))
            raise InputError(f'{self.name} is not for classes of pixels: its samples have {held}')
        labels: np.ndarray = sample.get(name).data[0].cpu().numpy()
        return labels.astype(np.int64, copy=False)  # of a head with one output 0.0 and 1.0

    def ground_truths(self, count: int) -> Iterator[tuple[Path, np.ndarray]]:
        """Files of the config's test split, evenly spaced, and their labels (H, W).

        Raises:
            InputError: the config has no test split, or one that cannot be read.
        """
        if self.predictor.dataset_cfg is None:
            raise InputError(f'{self.name} has no test_dataloader: give --images')
        dataset = test_dataset(self.predictor)
        for i in spread(len(dataset), count):
            (packed,) = load_samples(dataset, [i], 'test_dataloader')
            sample = packed['data_samples']
            yield Path(sample.img_path), self._labels(sample, 'gt_sem_seg')


def paint_errors(
    image: np.ndarray, clean: np.ndarray, corrupted: np.ndarray, truth: np.ndarray | None
) -> tuple[np.ndarray, float]:
    """Colour the errors on the corrupted image: red if the clean prediction was right, else orange.

    Args:
        image: uint8 RGB (H, W, 3), shown in pale grey.
        clean: labels predicted for the clean image, (H, W).
        corrupted: for the corrupted one.
        truth: labels; 255 is ignored. Without, the clean prediction takes its place.

    Returns:
        The image, and the share of wrong pixels.
    """
    truth = clean if truth is None else truth
    valid = truth != 255
    wrong = (corrupted != truth) & valid
    picture = paint_wrong(image, wrong)
    picture[wrong & (clean != truth)] = NEVER
    return picture, float(wrong.sum() / max(valid.sum(), 1))


def draw_segmentation(
    file: Path,
    segmentors: Sequence[Segmentor],
    corruption: tuple[str, int],
    truth: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """The image and its corruption in the first row, then a row per model.

    Args:
        file: of the image.
        segmentors: the models, all with this corruption and seed.
        corruption: name and severity.
        truth: labels (H, W) of the classes of the first model, if they are known.
        seed: base seed.

    Returns:
        uint8 RGB image.

    Raises:
        InputError: the image cannot be read, is too small, or a model reads it in another size.
    """
    image = load_picture(segmentors[0].loader, file)
    _check_shape(file, image, truth, 'its label map has')
    label = condition_label(*corruption)
    pictures = [image, corrupt_picture(image, file, *corruption, seed)]
    titles = ['image', label]
    metainfo = segmentors[0].predictor.metainfo
    if truth is not None:
        pictures.append(paint_segmentation(image, truth, colours_of(metainfo)))
        titles.append('ground truth')
    rows = [side_by_side([enlarge(p) for p in pictures], titles)]
    for segmentor in segmentors:
        clean, corrupted = segmentor(file)
        _check_shape(file, image, clean, f'{segmentor.name} reads')
        palette = colours_of(segmentor.predictor.metainfo)
        errors, wrong = paint_errors(image, clean, corrupted, truth)
        painted = [
            paint_segmentation(pictures[0], clean, palette),
            paint_segmentation(pictures[1], corrupted, palette),
            errors,
        ]
        what = 'changed' if truth is None else 'wrong, both kinds'
        titles = [segmentor.name, label, f'{what}: {share(wrong, 1)} of pixels']
        rows.append(side_by_side([enlarge(p) for p in painted], titles))
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(r, ((0, 0), (0, width - r.shape[1]), (0, 0)), constant_values=255) for r in rows]
    legends = [_legend(segmentor) for segmentor in segmentors]
    for i, own in enumerate(legends, 1):
        if i == len(legends) or own != legends[i]:  # one for all rows that it explains
            rows[i] = add_legend(rows[i], *own)
    if truth is None:
        legend, heading = {'by the corruption': LOST}, 'changed:'
    else:
        legend, heading = (
            {'lost to the corruption': LOST, 'on the clean image too': NEVER},
            'wrong:',
        )
    # Apart from the classes, whose colours may be the same.
    rows[-1] = add_legend(rows[-1], list(legend), list(legend.values()), heading)
    return np.concatenate(rows)


def _legend(segmentor: Segmentor) -> tuple[list[str], Sequence[tuple[int, ...]]]:
    """Names and colours of a model's classes; none of too many."""
    metainfo = segmentor.predictor.metainfo
    if len(metainfo['classes']) > LEGEND:
        return [], []
    return drawable(metainfo['classes']), colours_of(metainfo)


def _check_classes(segmentors: Sequence[Segmentor]) -> None:
    """Refuse models whose classes differ from the first one's, whose labels judge all of them."""
    first, *others = segmentors
    wanted = first.predictor.metainfo['classes']
    for segmentor in others:
        own = segmentor.predictor.metainfo['classes']
        if not own or not wanted:
            continue
        if len(own) != len(wanted) or differing(own, wanted) is not None:
            raise InputError(
                f'{segmentor.name} has other classes than {first.name}, whose ground truth would '
                'judge both: give --images, which have none'
            )


def _check_shape(file: Path, image: np.ndarray, labels: np.ndarray | None, what: str) -> None:
    if labels is not None and labels.shape != image.shape[:2]:
        (height, width), (h, w) = image.shape[:2], labels.shape
        raise InputError(f'{file} has {width}x{height} pixels, but {what} {w}x{h}')


def write_segmentation(
    segmentors: Sequence[Segmentor],
    out: str | Path,
    corruption: tuple[str, int],
    images: str | Path | None = None,
    count: int = 8,
    seed: int = 0,
    video: str | Path | None = None,
    fps: float = 10.0,
    left_out: dict[Path, str] | None = None,
) -> Iterator[Path]:
    """Draw image files, or samples of the first model's test split with their ground truth.

    Of a folder, what cannot be read or is too small is left out.

    Args:
        segmentors: the models.
        out: output folder.
        corruption: name and severity.
        images: a file or a folder of images or frames; None for the test split.
        count: samples of the test split.
        seed: base seed.
        video: .mp4, .avi or .gif to write from the images, in the order of their names.
        fps: images per second in it.
        left_out: takes the reason of each file that is left out.

    Yields:
        The files written.

    Raises:
        InputError: no images that can be drawn, models of other classes than the ground truth's, or see
            `write_video`.
    """
    if video is not None:
        _check_video(Path(video), fps)
    if images is not None:
        samples: Iterable = ((file, None) for file, _ in find_images(images, out))
    else:
        _check_classes(segmentors)
        samples = segmentors[0].ground_truths(count)
    named, samples = itertools.tee(samples)
    stems = distinct(file_stem(file) for file, _ in named)
    remove_temporaries(out)
    written, left_out = [], {} if left_out is None else left_out
    for stem, (file, truth) in zip(stems, samples, strict=True):
        target = Path(out) / f'{stem}.png'
        try:
            write_image(target, draw_segmentation(file, segmentors, corruption, truth, seed))
        except InputError as error:
            left_out[file] = str(error)
            continue
        written.append(target)
        yield target
    if not written:
        file, reason = next(iter(left_out.items()))
        raise InputError(reason if str(file) in reason else f'{file}: {reason}')
    if video is not None:
        write_video((cast(np.ndarray, read_image(file)) for file in written), video, fps)
        yield Path(video)


def write_video(frames: Iterable[np.ndarray], target: str | Path, fps: float) -> None:
    """Write images of one size, uint8 RGB, as a video (.mp4, .avi) or an animation (.gif).

    Raises:
        InputError: another suffix, no rate, images of several sizes, or OpenCV has no encoder.
    """
    target = Path(target)
    _check_video(target, fps)
    pictures = _video_frames(frames)
    with whole_file(target) as aside:
        if target.suffix.lower() == '.gif':
            start, *rest = (
                Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE)
                for picture in pictures
            )
            milliseconds = round(1000 / fps)
            start.save(aside, save_all=True, append_images=rest, duration=milliseconds, loop=0)
            return
        first = next(pictures)
        aside.touch()  # OpenCV does not say that a folder cannot be written
        fourcc = cv2.VideoWriter_fourcc(*VIDEO_CODECS[target.suffix.lower()])
        writer = cv2.VideoWriter(str(aside), fourcc, fps, first.shape[1::-1])
        if not writer.isOpened():
            raise InputError(f'this OpenCV cannot write {target.suffix}: choose .gif or .avi')
        for frame in itertools.chain([first], pictures):
            writer.write(frame[..., ::-1])
        writer.release()


def _check_video(target: Path, fps: float) -> None:
    if target.suffix.lower() not in VIDEO_CODECS:
        raise InputError(f'--video {target}: choose one of {", ".join(VIDEO_CODECS)}')
    if not 0 < fps < math.inf:
        raise InputError(f'a video needs more than 0 frames per second, not {fps}')


def _video_frames(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Frames as encoders want them; OpenCV would drop those of another size without a word."""
    first = None
    for frame in frames:
        first = first or frame.shape
        if frame.shape != first:
            (h, w), (height, width) = frame.shape[:2], first[:2]
            raise InputError(
                f'images of {width}x{height} and {w}x{h} pixels cannot form a '
                'video: use images of one size'
            )
        yield _video_frame(frame)


def _video_frame(frame: np.ndarray) -> np.ndarray:
    """At most `VIDEO_WIDTH` wide, with even sides, as encoders want them."""
    frame = no_wider(frame, VIDEO_WIDTH)
    height, width = frame.shape[:2]
    pad = ((0, height % 2), (0, width % 2), (0, 0))
    return np.ascontiguousarray(np.pad(frame, pad, constant_values=255))
