"""What ``tools/export.py`` does: a checkpoint as a verified file, of ONNX first of all."""

import copy
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.logging import print_log
from torch import Tensor

import fan_mm
from fan_mm.config_parts import datasets_of, steps_of, type_name
from fan_mm.deploy import (
    BOUNDS,
    MAKERS_OPSET,
    Network,
    TrainingPictures,
    Verification,
    export_onnx,
    first_difference,
    require_onnx,
    require_tensorrt,
    shapes_to_try,
    to_half,
    to_int8,
    verify,
    write_engine,
    write_metadata,
    write_program,
)
from fan_mm.engine.exported_model import computing_part, count_parameters
from fan_mm.engine.onnx_file import is_onnx, metadata_of, open_session, run_session
from fan_mm.engine.predictor import Predictor
from fan_mm.errors import InputError
from fan_mm.evaluation.identity import config_sha256, file_sha256
from fan_mm.fileio import whole_file
from fan_mm.logs import warn

FORMATS = ('onnx', 'pt2', 'tensorrt')
PRECISIONS = tuple(BOUNDS)
CALIBRATION_IMAGES = 128


def export(
    cfg: Config,
    checkpoint: str,
    out: str | os.PathLike,
    size: tuple[int, int],
    *,
    free: Sequence[str] = (),
    output: str = 'logits',
    part: str = 'whole',
    preprocessing: bool = False,
    opset: int = MAKERS_OPSET,
    precision: str = 'fp32',
    calibration_images: int = CALIBRATION_IMAGES,
    form: str = 'onnx',
) -> Verification:
    """Export a model to a file, and verify it before the file gets its final name.

    Args:
        cfg: a config for mmseg, mmdet or mmpretrain; modified in place.
        checkpoint: path or http(s) URL of the weights.
        out: the file; an existing file is kept if anything fails.
        size: height and width in pixels.
        free: which of 'batch' and 'size' stay dynamic.
        output: see `fan_mm.deploy.Network`, like part and preprocessing.
        part: see there.
        preprocessing: see there.
        opset: of the graph.
        precision: one of `PRECISIONS`; lower precisions are derived from a verified float32 graph.
        calibration_images: number of training images for the calibration of int8.
        form: file format, one of `FORMATS`.

    Returns:
        The result of the verification, which passed.

    Raises:
        InputError: a mistake in the config, the checkpoint or an option; the model cannot be
            exported; or the verification failed, with the first layer that differs.
    """
    _check(checkpoint, out, form, precision)
    config_hash, normalisation = config_sha256(cfg), _normalisation(cfg)
    network, predictor, pictures = _network(
        cfg, checkpoint, output, part, preprocessing, precision, calibration_images, size
    )
    entries = {
        **_described(network, predictor),
        'config': cfg.filename and Path(cfg.filename).name,
        'config_sha256': config_hash,
        'checkpoint_sha256': file_sha256(checkpoint),
        'normalisation': normalisation,
        'size': list(size),
        'free': list(free),
        'precision': precision,
        'calibration_images': len(pictures) if pictures else 0,
    }
    _tell_what_is_left(network, entries['window'])
    with whole_file(out) as aside:
        if form == 'pt2':
            return _verified(write_program(aside, network, size, free, entries), network, entries)
        proto, found = _graph(aside, network, opset, entries)
        if precision != 'fp32':
            proto = _reduced(proto, entries, pictures)
            if form == 'onnx':
                found = _saved_and_verified(aside, proto, network, entries, pictures)
        if form == 'tensorrt':
            example = network.example if pictures is None else pictures.example
            shapes = [tuple(example(*shape).shape) for shape in shapes_to_try(size, free, 1)]
            run = write_engine(aside, proto, shapes)
            return _verified(run, network, entries, pictures)
        write_metadata(proto, {'verification': found.entries()})
        _save(proto, aside)
        return found


def _check(checkpoint: str, out: str | os.PathLike, form: str, precision: str) -> None:
    """Refuse impossible combinations, before a model is built."""
    if is_onnx(checkpoint):
        raise InputError(f'{checkpoint} is already exported: give the original checkpoint')
    if form != 'pt2':
        require_onnx()
    elif precision != 'fp32':
        raise InputError(f'--format pt2 is float32 only: use {precision} with ONNX')
    if form == 'tensorrt':
        require_tensorrt()
    if form == 'onnx' and not is_onnx(out):
        raise InputError(f'{os.fspath(out)}: the name of an ONNX file must end in .onnx')


def _graph(
    path: Path, network: Network, opset: int, entries: dict[str, Any]
) -> tuple[Any, Verification]:
    """A verified graph in float32, traced at the size itself if nothing else works."""
    size, free = tuple(entries['size']), entries['free']
    entries = {**entries, 'precision': 'fp32'}
    for at_size in (False, True):
        try:
            proto = export_onnx(network, size, free, opset=opset, at_size=at_size)
            write_metadata(proto, entries)
        except InputError:
            if at_size or 'size' in free:
                raise
            continue
        try:
            return proto, _saved_and_verified(path, proto, network, entries)
        except InputError as error:
            if free and (at_size or 'size' in free):
                raise InputError(
                    f'{error}. If the model depends on its input size, export it for one size: without '
                    f'--dynamic {" ".join(free)}'
                ) from None
            if at_size:
                raise
    raise AssertionError('unreachable')


def _reduced(proto: Any, entries: dict[str, Any], pictures: TrainingPictures | None) -> Any:
    """The graph in a lower precision, float16 without images; what stays in float32 is logged and recorded."""
    if pictures is None:
        proto, kept = to_half(proto)
    else:
        proto, kept = to_int8(proto, pictures.calibration(*entries['size']))
        kept = {f'{name} of activations': count for name, count in kept.items()}
    entries['kept_in_float32'] = kept
    listed = ', '.join(f'{name} ({count})' for name, count in sorted(kept.items()))
    print_log(f'{entries["precision"]}: in float32: {listed or "no products"}', 'current')
    write_metadata(proto, entries)
    return proto


def _save(proto: Any, path: Path) -> None:
    import onnx

    onnx.save(proto, str(path))


def _saved_and_verified(
    path: Path,
    proto: Any,
    network: Network,
    entries: dict[str, Any],
    pictures: TrainingPictures | None = None,
) -> Verification:
    _save(proto, path)
    return _verified(_session(str(path)), network, entries, pictures, str(path))


def _session(path: str) -> Callable[[Tensor], list[np.ndarray]]:
    return functools.partial(run_session, open_session(path))


def verify_file(cfg: Config, checkpoint: str, path: str | os.PathLike) -> Verification:
    """Verify an exported ONNX file once more, with the config and the checkpoint of its `export`.

    Raises:
        InputError: the file was not exported, does not belong to this config, or failed the verification.
    """
    require_onnx()
    told = metadata_of(open_session(path), path)
    network, _, pictures = _network(
        cfg,
        checkpoint,
        told['output'],
        told['part'],
        told['preprocessing'],
        told.setdefault('precision', 'fp32'),
        told.get('calibration_images') or 1,
        tuple(told['size']),
    )
    return _verified(_session(os.fspath(path)), network, told, pictures, os.fspath(path))


def _network(
    cfg: Config,
    checkpoint: str,
    output: str,
    part: str,
    preprocessing: bool,
    precision: str,
    count: int,
    size: tuple[int, int],
) -> tuple[Network, Predictor, TrainingPictures | None]:
    """The network, what it was taken from, and images where the precision needs them."""
    made = _normalisation(cfg)
    if preprocessing and made.get('rgb_to_bgr'):
        raise InputError('--with-preprocessing: the data_preprocessor converts RGB to BGR')
    split = copy.deepcopy((cfg.get('train_dataloader') or {}).get('dataset'))
    predictor = Predictor(cfg, checkpoint)
    network = Network(predictor.model, predictor.task, output, part, preprocessing, size)
    if precision != 'int8':
        return network, predictor, None
    return network, predictor, TrainingPictures(split, predictor, network, count)


def _verified(
    run: Callable[[Tensor], Sequence[np.ndarray]],
    network: Network,
    entries: dict[str, Any],
    pictures: TrainingPictures | None = None,
    path: str | None = None,
) -> Verification:
    """What a verification found; see `export` for what it raises."""
    size, free, bounds = tuple(entries['size']), entries['free'], BOUNDS[entries['precision']]
    example = network.example if pictures is None else pictures.example
    found = verify(run, network, size, free, bounds=bounds, example=example)
    if found.passed:
        return found
    where = None
    if path:
        import onnx

        images = example(*shapes_to_try(size, free, 1)[-1])
        where = first_difference(onnx.load(path), network, images, bounds.error)
    raise InputError(
        f'the file differs from PyTorch: {found}; {bounds}'
        + (f'; the first layer that differs is {where}' if where else '')
    )


def _described(network: Network, predictor: Predictor) -> dict[str, Any]:
    """What a file says of its network, at any size and precision."""
    name = computing_part(network.model)
    used = getattr(network.model, name) if name else network.model
    prepared = network.preprocessing
    return {
        'version': fan_mm.__version__,
        'task': network.task,
        'backbone': type(used).__name__,
        'arch': _plain(getattr(used, 'arch', None)),
        'parameters': count_parameters(used),
        'input': 'uint8 RGB (B, H, W, 3)'
        if prepared
        else f'normalised float32 (B, {network.channels}, H, W)',
        'channels': network.channels,
        'preprocessing': prepared,
        'output': network.output,
        'part': network.part,
        'window': _window(network.model),
        'threshold': network.threshold if network.sigmoid and not network.several else None,
        'classes': [str(name) for name in predictor.metainfo.get('classes') or ()],
        'palette': _plain(predictor.metainfo.get('palette')),
    }


def _window(model: Any) -> dict[str, Any] | None:
    """Size and stride in pixels of the window that a model slides over images; None if it does not."""
    config = getattr(model, 'test_cfg', None)
    if not isinstance(config, dict) or config.get('mode') != 'slide':
        return None
    return {name: _plain(config.get(name)) for name in ('crop_size', 'stride')}


def _tell_what_is_left(network: Network, window: dict[str, Any] | None) -> None:
    """Warn about steps of the model's own prediction that are not in the file."""
    if window is not None and network.part == 'whole':
        warn(
            f'the model slides a window of {window["crop_size"]} pixels by {window["stride"]} over images: the '
            'file computes a single window, and on whole images it gives other scores than were measured'
        )
    made = network.model.data_preprocessor
    if network.preprocessing and (padding := _padding(made)):
        warn(
            f'{type(made).__name__} pads images ({padding}), the file does not: give it padded ones'
        )


def _padding(preprocessor: Any) -> str:
    """How images are padded when a model predicts; '' if they are not."""
    if hasattr(preprocessor, 'test_cfg'):  # mmseg's, which pads by nothing else then
        options = preprocessor.test_cfg or {}
    else:
        divisor = getattr(preprocessor, 'pad_size_divisor', 1)
        options = {'pad_size_divisor': divisor} if divisor > 1 else {}
    return ', '.join(f'{name} {value}' for name, value in options.items())


def _normalisation(cfg: Config) -> dict[str, Any]:
    """What is done to colours before the network: by the data_preprocessor, else by mmcv's Normalize in a pipeline."""
    model = cfg.get('model') or {}
    made = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    if made.get('mean') is None:
        loader = cfg.get('test_dataloader') or {}
        datasets = (dataset for _, dataset in datasets_of('', loader.get('dataset')))
        steps = [step for dataset in datasets for step in steps_of(dataset.get('pipeline'))]
        normalising = [step for step in steps if type_name(step) == 'Normalize']
        made = {'to_rgb': True, **normalising[0]} if normalising else made
    names = ('mean', 'std', 'bgr_to_rgb', 'rgb_to_bgr', 'to_rgb')
    found = {name: _plain(made[name]) for name in names if name in made}
    return {'type': type_name(made), **found} if made else {}


def _plain(value: Any) -> Any:
    """Lists for tuples, as JSON has them; None for what it does not have."""
    if isinstance(value, dict):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value if isinstance(value, bool | int | float | str) else None
