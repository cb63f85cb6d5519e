"""What ``tools/demo.py`` and ``tools/show_predictions.py`` do: paint a model's predictions."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from fan_mm.engine.config.building import used_so
from fan_mm.engine.first_batch.samples import load_samples
from fan_mm.engine.predictor import Predictor, test_dataset, test_pipeline
from fan_mm.errors import InputError
from fan_mm.evaluation.loading.pictures import load_picture, loader_in, pipelines_of
from fan_mm.evaluation.samples import spread
from fan_mm.fileio import output_folder, remove_temporaries, shortened
from fan_mm.images import find_images, read_header, write_image
from fan_mm.report.painters import legend_of, painter
from fan_mm.report.panels import add_legend, room_for_legend, side_by_side

Loop = Callable[[Sequence], Iterable]
_VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg')
_STEM = 240  # bytes of a file name without number and suffix


def paint_files(
    cfg: Config, checkpoint: str, path: str | os.PathLike, out: str | os.PathLike, loop: Loop = iter
) -> tuple[list[Path], dict[Path, str]]:
    """Draw predictions on image files, with a legend of the classes that are present.

    Args:
        cfg: a config for mmseg, mmdet or mmpretrain; modified in place.
        checkpoint: path of the weights.
        path: an image, or a folder of images.
        out: folder for the images, which keep the names of their originals.
        loop: wraps the loop over the images, to show the progress.

    Returns:
        The images written, and for every file that was left out the reason: it is not an image, or
        too small for the model.

    Raises:
        InputError: a mistake in the config or in a path.
    """
    if Path(path).suffix.lower() in _VIDEOS:
        raise InputError(f'{path} is a video: ffmpeg -i VIDEO FOLDER/%06d.png extracts its frames')
    files, out = find_images(path, out), Path(out)
    if out.is_file():
        raise InputError(f'--out {out} is a file: give a folder for the images')
    for file, relative in files:
        if (out / relative).exists() and (out / relative).samefile(file):
            raise InputError(f'--out {out} would overwrite {file}: choose another folder')
    predictor = Predictor(cfg, checkpoint)
    paint = painter(predictor.metainfo)
    pipeline = test_pipeline(predictor)
    loader = loader_in(pipeline.transforms)
    output_folder(out)
    remove_temporaries(*{(out / relative).parent for _, relative in files})
    written, left_out = [], {}
    for index, (file, relative) in enumerate(loop(files)):
        try:
            image = load_picture(loader, file)
        except InputError:
            left_out[file] = 'cannot be read as an image'
            continue
        if (header := read_header(file)) and header.several:
            print_log(f'{file}: only its first frame or page is used', 'current')
        try:
            with used_so('test_dataloader.dataset.pipeline does not take a single image'):
                packed = pipeline({'img_path': str(file), 'img_id': index})
            sample = predictor(packed)
            picture = paint(image, sample)['prediction']
            names, palette = legend_of(sample, predictor.metainfo)
            picture = room_for_legend(picture, names)
            write_image(out / relative, add_legend(picture, names, palette))
        except InputError as error:
            left_out[file] = str(error)
        else:
            written.append(out / relative)
    return written, left_out


def paint_samples(
    cfg: Config, checkpoint: str, out: str | os.PathLike, count: int, loop: Loop = iter
) -> list[Path]:
    """Draw image, ground truth and prediction side by side for samples of the test split.

    Args:
        cfg: a config for mmseg, mmdet or mmpretrain; modified in place.
        checkpoint: path of the weights.
        out: output folder.
        count: number of samples, evenly spaced over the split.
        loop: wraps the loop over the samples, to show the progress.

    Returns:
        The images written.

    Raises:
        InputError: a mistake in the config, a count below 1, or a sample that cannot be read.
    """
    predictor = Predictor(cfg, checkpoint)
    if predictor.dataset_cfg is None:
        raise InputError('the config has no test_dataloader')
    dataset = test_dataset(predictor)
    paint = painter(predictor.metainfo)
    loader = loader_in([t for pipeline in pipelines_of(dataset) for t in pipeline])
    remove_temporaries(out)
    written = []
    for index in loop(spread(len(dataset), count)):
        (packed,) = load_samples(dataset, [index], 'test_dataloader')
        given = packed['data_samples']
        if (path := getattr(given, 'img_path', None)) is None:
            raise InputError(
                f'samples of one image are painted; the dataset gives a {type(given).__name__}'
            )
        file = Path(path)
        image = load_picture(loader, file)
        sample = predictor(packed)
        painted = paint(image, sample)
        titles = [t for t in ('image', 'ground_truth', 'prediction') if t in painted]
        row = side_by_side([painted[t] for t in titles], [t.replace('_', ' ') for t in titles])
        written.append(Path(out) / f'{index:05d}_{shortened(file.stem, _STEM)}.png')
        names, palette = legend_of(sample, predictor.metainfo)
        write_image(written[-1], add_legend(room_for_legend(row, names), names, palette))
    return written
