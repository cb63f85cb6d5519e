"""What ``tools/demo.py`` and ``tools/show_predictions.py`` do: paint a model's predictions."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from fan_mm.engine.predictor import Predictor, test_pipeline
from fan_mm.errors import InputError
from fan_mm.evaluation.samples import spread
from fan_mm.images import find_images, read_image, write_image
from fan_mm.report.painters import legend_of, painter
from fan_mm.report.panels import add_legend, side_by_side

Loop = Callable[[Sequence], Iterable]


def paint_files(
    cfg: Config, checkpoint: str, path: str | os.PathLike, out: str | os.PathLike, loop: Loop = iter
) -> tuple[list[Path], dict[Path, str]]:
    """Paint predictions over image files, with a legend of the classes that are present.

    Args:
        cfg: a config for mmseg, mmdet or mmpretrain; changed in place.
        checkpoint: path of the weights.
        path: an image, or a folder of images.
        out: folder of the painted pictures, which have the names of their originals.
        loop: wraps the loop over the images, to show how far it is.

    Returns:
        The pictures written; and why there is none of a file: it is no image, or too small for the
        model.

    Raises:
        InputError: a mistake in the config or in a path.
    """
    files, out = find_images(path, out), Path(out)
    if out.is_file():
        raise InputError(f'--out {out} is a file: the pictures need a folder')
    for file, relative in files:
        if (out / relative).exists() and (out / relative).samefile(file):
            raise InputError(f'--out {out} would overwrite {file}: choose another folder')
    predictor = Predictor(cfg, checkpoint)
    paint = painter(predictor.task, predictor.metainfo)
    pipeline = test_pipeline(predictor)
    written, left_out = [], {}
    for index, (file, relative) in enumerate(loop(files)):
        image = read_image(file)
        if image is None:
            left_out[file] = 'not an image that can be read'
            continue
        try:
            sample = predictor(pipeline({'img_path': str(file), 'img_id': index}))
            picture = paint(image, sample)['prediction']
            legend = legend_of(sample, predictor.metainfo)
            write_image(out / relative, add_legend(picture, *legend))
        except InputError as error:
            left_out[file] = str(error)
        else:
            written.append(out / relative)
    return written, left_out


def paint_samples(
    cfg: Config, checkpoint: str, out: str | os.PathLike, count: int, loop: Loop = iter
) -> list[Path]:
    """Paint image, ground truth and prediction side by side for samples of the test split.

    Args:
        cfg: a config for mmseg, mmdet or mmpretrain; changed in place.
        checkpoint: path of the weights.
        out: folder of the pictures.
        count: number of samples, spread evenly over the split.
        loop: wraps the loop over the samples, to show how far it is.

    Returns:
        The pictures written.

    Raises:
        InputError: a mistake in the config, or no samples are asked for.
    """
    predictor = Predictor(cfg, checkpoint)
    if predictor.dataset_cfg is None:
        raise InputError('the config has no test_dataloader')
    with DefaultScope.overwrite_default_scope(predictor.scope):
        dataset = DATASETS.build(predictor.dataset_cfg)
    paint = painter(predictor.task, predictor.metainfo)
    written = []
    for index in loop(spread(len(dataset), count)):
        packed = dataset[index]
        file = Path(packed['data_samples'].img_path)
        image = read_image(file)
        if image is None:
            raise InputError(f'{file} cannot be read as an image')
        sample = predictor(packed)
        painted = paint(image, sample)
        titles = [t for t in ('image', 'ground_truth', 'prediction') if t in painted]
        row = side_by_side([painted[t] for t in titles], [t.replace('_', ' ') for t in titles])
        written.append(Path(out) / f'{index:05d}_{file.stem}.png')
        write_image(written[-1], add_legend(row, *legend_of(sample, predictor.metainfo)))
    return written
