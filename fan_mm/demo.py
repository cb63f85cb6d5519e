"""What ``tools/demo.py`` and ``tools/show_predictions.py`` do: paint a model's predictions."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import load_checkpoint

from fan_mm.engine.runtime import prepare_runtime
from fan_mm.engine.weights import check_fit
from fan_mm.errors import InputError
from fan_mm.fileio import write_whole
from fan_mm.painters import painter, palette_of
from fan_mm.report.panels import add_legend, side_by_side
from fan_mm.torch_files import read_torch_file

SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
_TASKS = {'mmseg': 'segmentation', 'mmdet': 'detection', 'mmpretrain': 'classification'}

Loop = Callable[[Sequence], Iterable]


class Predictor:
    """A model of any task library with its weights, and the painter of its predictions.

    Args:
        cfg: a config for mmseg, mmdet or mmpretrain; changed in place.
        checkpoint: path of the weights.

    Attributes:
        model: in eval mode, on the GPU if there is one.
        dataset_cfg: the config of the test split, None if the config has none.
        metainfo: class names and palette, from the checkpoint, else from the dataset.

    Raises:
        InputError: a mistake in the config, or a checkpoint that does not fit it.
    """

    def __init__(self, cfg: Config, checkpoint: str) -> None:
        self.scope = cfg.get('default_scope')
        if self.scope not in _TASKS:
            raise InputError(
                f"the config's default_scope is {self.scope!r}: pictures can be painted for "
                f'{", ".join(_TASKS)}'
            )
        if '://' not in checkpoint:
            read_torch_file(checkpoint)
        self.dataset_cfg = (cfg.get('test_dataloader') or {}).get('dataset')
        drop_data(cfg)
        prepare_runtime(cfg)
        if cfg.get('data_preprocessor'):  # beside the model in mmpretrain's configs
            cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
        with DefaultScope.overwrite_default_scope(self.scope):
            self.model = MODELS.build(cfg.model)
        loaded = load_checkpoint(self.model, checkpoint, map_location='cpu', logger='silent')
        check_fit(self.model, loaded, checkpoint)
        self.model.to(get_device()).eval()
        self.metainfo = dict(loaded.get('meta', {}).get('dataset_meta') or self._dataset_metainfo())
        classes = self.metainfo.setdefault('classes', ())
        if not classes and self.scope != 'mmpretrain':
            raise InputError(
                'neither the checkpoint nor the dataset says what the classes are called'
            )
        self.metainfo['palette'] = palette_of(self.metainfo)
        self._paint = painter(_TASKS[self.scope], self.metainfo)

    def _dataset_metainfo(self) -> dict:
        dataset = _innermost(self.dataset_cfg) or {}
        with DATASETS.switch_scope_and_registry(self.scope) as registry:
            cls = registry.get(dataset.get('type', ''))
        return {**getattr(cls, 'METAINFO', {}), **(dataset.get('metainfo') or {})}

    @torch.inference_mode()
    def __call__(self, packed: dict) -> Any:
        """Predict for one sample as a test pipeline packs it; returns the data sample."""
        return self.model.test_step(pseudo_collate([packed]))[0]

    def pictures(self, image: np.ndarray, sample: Any) -> dict[str, np.ndarray]:
        """Paint a predicted sample.

        Args:
            image: the picture it was predicted for, uint8 RGB ``(H, W, 3)``.
            sample: what calling the predictor returned.

        Returns:
            RGB pictures 'image', 'prediction' and, where the sample has it, 'ground_truth'.
        """
        return self._paint(image, sample)

    def legend(self, sample: Any) -> tuple[list[str], list]:
        """Names and colours of the classes whose regions a segmented sample shows."""
        if 'pred_sem_seg' not in sample:
            return [], []
        shown = torch.unique(sample.pred_sem_seg.data).tolist()
        if 'gt_sem_seg' in sample:
            shown = sorted({*shown, *torch.unique(sample.gt_sem_seg.data).tolist()})
        shown = [i for i in shown if i < len(self.metainfo['classes'])]
        return (
            [self.metainfo['classes'][i] for i in shown],
            [self.metainfo['palette'][i] for i in shown],
        )


def drop_data(cfg: Config) -> None:
    """Take loaders and evaluators out of a config whose data need not be there."""
    for split in ('train', 'val', 'test'):
        for part in ('dataloader', 'evaluator', 'cfg'):
            cfg.pop(f'{split}_{part}', None)


def _innermost(dataset_cfg: dict | None) -> dict | None:
    """The config of the dataset inside wrappers such as RepeatDataset."""
    while dataset_cfg and 'dataset' in dataset_cfg:
        dataset_cfg = dataset_cfg['dataset']
    return dataset_cfg


def test_pipeline(predictor: Predictor) -> Compose:
    """The config's test pipeline without the steps that want annotations."""
    pipeline = (_innermost(predictor.dataset_cfg) or {}).get('pipeline')
    if not pipeline:
        raise InputError('the config has no test_dataloader.dataset.pipeline to load images with')
    steps = [s for s in pipeline if not ('Load' in s['type'] and 'Annotations' in s['type'])]
    with DefaultScope.overwrite_default_scope(predictor.scope):
        return Compose(steps)


def find_images(
    path: str | os.PathLike, out: str | os.PathLike | None = None
) -> list[tuple[Path, Path]]:
    """Image files and the relative paths of their painted copies.

    Args:
        path: one file of any name, or a folder that is searched with all its subfolders.
        out: the subfolder of painted copies, if it is one: what lies there is no input.

    Raises:
        InputError: nothing is there.
    """
    path = Path(path)
    if path.is_file():
        found = [(path, Path(path.name))]
    elif path.is_dir():
        files = sorted(p for p in path.rglob('*') if p.suffix.lower() in SUFFIXES and p.is_file())
        found = [(file, file.relative_to(path)) for file in files]
        top, painted = path.resolve(), out and Path(out).resolve()
        if painted and top in painted.parents:
            found = [(f, r) for f, r in found if painted not in (top / r).parents]
        if not found:
            raise InputError(f'{path} has no images ({", ".join(SUFFIXES)})')
    else:
        raise InputError(f'no such file or folder: {path}')
    keep = ('.jpg', '.jpeg', '.png')
    return [(f, r if r.suffix.lower() in keep else r.with_name(r.name + '.png')) for f, r in found]


def paint_files(
    cfg: Config, checkpoint: str, path: str | os.PathLike, out: str | os.PathLike, loop: Loop = iter
) -> tuple[list[Path], list[Path]]:
    """Paint predictions over image files, with a legend of the classes that are present.

    Args:
        cfg: a config for mmseg, mmdet or mmpretrain; changed in place.
        checkpoint: path of the weights.
        path: an image, or a folder of images.
        out: folder of the painted pictures, which have the names of their originals.
        loop: wraps the loop over the images, to show how far it is.

    Returns:
        The pictures written, and the files that cannot be read as images.

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
    pipeline = test_pipeline(predictor)
    written, unreadable = [], []
    for index, (file, relative) in enumerate(loop(files)):
        image = read_image(file)
        if image is None:
            unreadable.append(file)
            continue
        sample = predictor(pipeline({'img_path': str(file), 'img_id': index}))
        picture = predictor.pictures(image, sample)['prediction']
        write_image(out / relative, add_legend(picture, *predictor.legend(sample)))
        written.append(out / relative)
    return written, unreadable


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
        InputError: a mistake in the config.
    """
    predictor = Predictor(cfg, checkpoint)
    if predictor.dataset_cfg is None:
        raise InputError('the config has no test_dataloader')
    with DefaultScope.overwrite_default_scope(predictor.scope):
        dataset = DATASETS.build(predictor.dataset_cfg)
    count = min(count, len(dataset))
    written = []
    for index in loop([i * len(dataset) // count for i in range(count)]):
        packed = dataset[index]
        file = Path(packed['data_samples'].img_path)
        image = read_image(file)
        if image is None:
            raise InputError(f'{file} cannot be read as an image')
        sample = predictor(packed)
        painted = predictor.pictures(image, sample)
        titles = [t for t in ('image', 'ground_truth', 'prediction') if t in painted]
        row = side_by_side([painted[t] for t in titles], [t.replace('_', ' ') for t in titles])
        written.append(Path(out) / f'{index:05d}_{file.stem}.png')
        write_image(written[-1], add_legend(row, *predictor.legend(sample)))
    return written


def read_image(file: Path) -> np.ndarray | None:
    """An image file as uint8 RGB ``(H, W, 3)``; None if it is not one."""
    try:
        data = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError:
        return None
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    return None if image is None else np.ascontiguousarray(image[..., ::-1])


def write_image(file: Path, picture: np.ndarray) -> None:
    """Write a uint8 RGB picture, whole or not at all.

    Raises:
        InputError: the format has no room for so large a picture.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, 95]
    done, data = cv2.imencode(file.suffix, picture[..., ::-1], options)
    if not done:
        height, width = picture.shape[:2]
        raise InputError(f'{file}: {width}x{height} pixels are too many for {file.suffix}')
    write_whole(file, data.tobytes())
