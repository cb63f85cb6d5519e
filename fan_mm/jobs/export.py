"""What ``tools/export.py`` does: a checkpoint as a verified ONNX file."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

import fan_mm
from fan_mm.config_parts import type_name
from fan_mm.deploy import (
    MAKERS_OPSET,
    Network,
    Verification,
    export_onnx,
    first_difference,
    require_onnx,
    shapes_to_try,
    verify,
    write_metadata,
)
from fan_mm.engine.onnx_file import metadata_of, open_session
from fan_mm.engine.predictor import Predictor
from fan_mm.errors import InputError
from fan_mm.evaluation.identity import config_sha256, file_sha256
from fan_mm.fileio import whole_file


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
) -> Verification:
    """Export a model to an ONNX file, and verify it before it gets its name.

    Args:
        cfg: a config for mmseg, mmdet or mmpretrain; changed in place.
        checkpoint: path of the weights, or their http(s) address.
        out: the file; one that is there stays what it is if anything fails.
        size: height and width in pixels.
        free: of 'batch' and 'size', what the graph leaves open.
        output: see `fan_mm.deploy.Network`, as for part and preprocessing.
        part: see there.
        preprocessing: see there.
        opset: of the file.

    Returns:
        What the verification found; it passed.

    Raises:
        InputError: a mistake in the config, the checkpoint or an option; the model cannot be
            exported; or the verification failed, with the first layer that differs.
    """
    require_onnx()
    config_hash = config_sha256(cfg)
    network, metainfo = _network(cfg, checkpoint, output, part, preprocessing)
    entries = {
        'version': fan_mm.__version__,
        'task': network.task,
        'backbone': type(getattr(network.model, 'backbone', None)).__name__,
        'arch': _plain(getattr(getattr(network.model, 'backbone', None), 'arch', None)),
        'config': cfg.filename and Path(cfg.filename).name,
        'config_sha256': config_hash,
        'checkpoint_sha256': file_sha256(checkpoint),
        'input': 'uint8 RGB (B, H, W, 3)' if preprocessing else 'normalised float32 (B, 3, H, W)',
        'preprocessing': preprocessing,
        'normalisation': _normalisation(cfg),
        'output': output,
        'part': part,
        'size': list(size),
        'free': list(free),
        'classes': [str(name) for name in metainfo.get('classes') or ()],
        'palette': _plain(metainfo.get('palette')),
    }
    with whole_file(out) as aside:
        try:
            return _write(aside, network, size, free, opset, entries)
        except InputError:
            if 'size' in free:
                raise
            return _write(aside, network, size, free, opset, entries, at_size=True)


def _write(
    path: Path,
    network: Network,
    size: tuple[int, int],
    free: Sequence[str],
    opset: int,
    entries: dict[str, Any],
    at_size: bool = False,
) -> Verification:
    """Export to a file and verify that; see `export`, and `export_onnx` for ``at_size``."""
    import onnx

    proto = export_onnx(network, size, free, opset=opset, at_size=at_size)
    write_metadata(proto, entries)
    onnx.save(proto, str(path))
    found = _verified(str(path), network, size, free)
    write_metadata(proto, {'verification': found.entries()})
    onnx.save(proto, str(path))
    return found


def verify_file(cfg: Config, checkpoint: str, path: str | os.PathLike) -> Verification:
    """Verify an exported file once more.

    Args:
        cfg: as for `export`, and so is checkpoint.
        checkpoint: see there.
        path: the file.

    Raises:
        InputError: it is not an exported file, not this config's, or its verification failed.
    """
    require_onnx()
    told = metadata_of(open_session(path), path)
    network, _ = _network(cfg, checkpoint, told['output'], told['part'], told['preprocessing'])
    return _verified(os.fspath(path), network, tuple(told['size']), told['free'])


def _network(
    cfg: Config, checkpoint: str, output: str, part: str, preprocessing: bool
) -> tuple[Network, dict]:
    made = _normalisation(cfg)
    if preprocessing and made.get('rgb_to_bgr'):
        raise InputError('--with-preprocessing: the data_preprocessor turns RGB into BGR')
    predictor = Predictor(cfg, checkpoint)
    network = Network(predictor.model, predictor.task, output, part, preprocessing)
    return network, predictor.metainfo


def _verified(
    path: str, network: Network, size: tuple[int, int], free: Sequence[str]
) -> Verification:
    import onnx

    found = verify(open_session(path), network, size, free)
    if found.passed:
        return found
    batch, height, width = shapes_to_try(size, free, 1)[-1]
    layer = first_difference(onnx.load(path), network, network.example(batch, height, width))
    where = f'; the first layer that differs is {layer}' if layer else ''
    raise InputError(f'the file does not compute what PyTorch does: {found}{where}')


def _normalisation(cfg: Config) -> dict[str, Any]:
    """The data_preprocessor's options that concern colours, from wherever the config has them."""
    model = cfg.get('model') or {}
    made = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
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
