"""Short fingerprints of what decides a sweep's numbers: config, weights, data."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from fan_mm.corruptions import image_key
from fan_mm.errors import InputError
from fan_mm.torch_files import local_file

# How batches are read changes how fast, not what comes out.
_LOADER_SPEED = ('num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor', 'timeout')
_DECIDING = ('model', 'test_dataloader', 'test_evaluator', 'test_cfg', 'default_scope', 'tta_model')


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return getattr(value, '__qualname__', None) or repr(value)


def config_sha256(cfg: Config) -> str:
    """Hash of the parts of a config that decide the numbers of an evaluation.

    Work dir, logging, training and loader speed are left out, so that the same command with more
    workers continues a sweep.
    """
    parts = {name: cfg.get(name) for name in (*_DECIDING, 'data_preprocessor')}
    parts = Config(parts).to_dict()
    preprocessor = parts.pop('data_preprocessor')
    if preprocessor and parts['model']:
        parts['model'].setdefault('data_preprocessor', preprocessor)  # as the Runner does
    if any('EMA' in str(hook.get('type')) for hook in cfg.get('custom_hooks') or ()):
        parts['averaged_weights'] = True
    for name in _LOADER_SPEED:
        (parts['test_dataloader'] or {}).pop(name, None)
    return _digest(parts)


def file_sha256(path: str | os.PathLike) -> str:
    """Hash of the content of a checkpoint that was read (`fan_mm.torch_files.read_torch_file`).

    Args:
        path: of the file, or the address that it was downloaded from.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with open(local_file(path), 'rb') as file:
            digest = hashlib.sha256()
            while chunk := file.read(2**22):
                digest.update(chunk)
    except OSError as error:
        raise InputError(f'cannot read the checkpoint {path}: {error.strerror}') from None
    return digest.hexdigest()


def model_sha256(model: torch.nn.Module) -> str:
    """Hash of a model's parameters and buffers, names included."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        if isinstance(value, torch.Tensor):
            digest.update(str(value.dtype).encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()


def dataset_sha256(dataset: Any, infos: Sequence[Mapping]) -> str:
    """Hash of a dataset: class names, and per sample the image's key, its file's size, its labels.

    Not of the pixels: reading them all would take as long as an evaluation.
    """
    meta = getattr(dataset, 'metainfo', {})
    several = isinstance(meta, list)  # mmdet's ConcatDataset of datasets with classes of their own
    classes = [part.get('classes') for part in meta] if several else meta.get('classes')
    samples = [
        {
            'key': image_key(info['img_path']),
            'size': _file_size(info['img_path']),
            'label': info.get('gt_label'),
            'instances': info.get('instances'),
            'map': _file_size(info.get('seg_map_path')),
        }
        for info in infos
    ]
    return _digest([type(dataset).__name__, classes, samples])


def _file_size(path: str | None) -> int | None:
    """Bytes of a file; None if there is none, or it lies on a remote backend."""
    try:
        return None if path is None else os.path.getsize(path)
    except OSError:
        return None
