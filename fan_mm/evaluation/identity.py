"""Short fingerprints of what decides a sweep's numbers: config, weights, data.

They depend on content, not location: data, annotation files and weights may be moved. Of images and
label maps, names, file sizes and the bytes of a sample are hashed; reading all of them would take as long
as an evaluation.
"""

import functools
import hashlib
import json
import os
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from fan_mm.config_parts import type_name
from fan_mm.corruptions import image_key
from fan_mm.engine.onnx_file import external_files, is_onnx
from fan_mm.errors import InputError
from fan_mm.evaluation.samples import spread
from fan_mm.logs import warn
from fan_mm.torch_files import local_file

# Version of these fingerprints; after an increase, stored sweeps no longer match.
VERSION = '3'
# Settings of data loaders that affect speed but not results.
_LOADER_SPEED = (
    *('num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor', 'timeout'),
    'multiprocessing_context',
)
_DECIDING = ('model', 'test_dataloader', 'test_evaluator', 'test_cfg', 'default_scope', 'tta_model')
# Location of a dataset; its content is in `dataset_sha256`.
_DATA = ('data_root', 'data_prefix', 'ann_file', 'img_prefix', 'seg_prefix', 'img_dir', 'ann_dir')
# Input locations, and output locations of metrics.
_PLACES = (
    *('backend_args', 'file_client_args', 'collect_dir', 'collect_device', 'work_dir'),
    *('outfile_prefix', 'output_dir', 'out_dir', 'out_file_path'),
)
_NAMES_A_FILE = re.compile(
    r'(^|_)(path|paths|file|files|root|dir|folder|filename|checkpoint|ckpt|pretrained)$|_prefix$'
)
_WRITTEN = re.compile(r'(^|_)(out|outfile|output|save|dump|results?|log|cache|tmp|vis)(_|$)')
_LISTED = ('instances', 'gt_label', 'sample_idx')  # in `listing_sha256`, or irrelevant
SAMPLE = 64  # images whose bytes are read
BLOCK = 2**14  # bytes read at the beginning, middle and end of a large copy


def _digest(content: Any) -> str:
    text = json.dumps(content, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    """Values that JSON has no form for, in a form that is the same in every process."""
    if isinstance(value, np.ndarray | torch.Tensor):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, functools.partial):
        return [value.func, list(value.args), value.keywords]
    if isinstance(value, types.FunctionType):
        held = [cell.cell_contents for cell in value.__closure__ or ()]
        held = [part for part in held if not callable(part)]  # may refer back to the object itself
        return [value.__qualname__, _plain(value.__code__), held, value.__defaults__]
    if isinstance(value, types.CodeType):
        constants = [c if isinstance(c, types.CodeType) else repr(c) for c in value.co_consts]
        return [value.co_code.hex(), list(value.co_names), constants]
    name = getattr(value, '__qualname__', None) or repr(value)
    return re.sub(r' at 0x[0-9a-fA-F]+', '', name)


def _content(value: Any, key: str = '') -> Any:
    """A part of a config in a form that is equal for equal content.

    Types are represented by their names, files by their bytes, numbers by their values.
    """
    if isinstance(value, Mapping):
        left_out = (*_PLACES, *_DATA) if key in ('dataset', 'datasets') else _PLACES
        return {
            str(name): (name == 'type' and type_name(value)) or _content(part, str(name))
            for name, part in value.items()
            if name not in left_out
        }
    if isinstance(value, list | tuple):
        return [_content(part, key) for part in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str | PurePath):
        return _file_or_text(os.fspath(value), key)
    return value


def _file_or_text(text: str, key: str) -> str:
    """The hash of the file that a text names; the last part of a path to nothing; otherwise the text.

    Files on a remote backend are represented by their names; output locations are ignored.
    """
    if '://' in text or not ('/' in text or os.sep in text or '.' in text):
        return text
    if _WRITTEN.search(key):
        return ''
    path = os.path.expanduser(text)
    try:
        if os.path.isfile(path):
            return file_sha256(path)
        if os.path.isdir(path) and ('/' in text or os.sep in text):
            return sample_sha256(sorted(filter(Path.is_file, Path(path).iterdir())))
    except (OSError, ValueError, InputError):  # no permission, or not a file name
        pass
    return os.path.basename(path.rstrip('/')) if _NAMES_A_FILE.search(key) else text


def config_sha256(cfg: Config) -> str:
    """Hash of the parts of a config that decide the numbers of an evaluation.

    Work dir, logging, training, loader speed and file locations are left out, so that a sweep can be
    continued with, for example, more workers.
    """
    parts = {name: cfg.get(name) for name in (*_DECIDING, 'data_preprocessor')}
    parts = Config(parts).to_dict()
    preprocessor = parts.pop('data_preprocessor')
    if preprocessor and parts['model']:
        parts['model'].setdefault('data_preprocessor', preprocessor)  # as the Runner does
    hooks = [*(cfg.get('custom_hooks') or ()), *(cfg.get('default_hooks') or {}).values()]
    if any('EMA' in type_name(hook) for hook in hooks):
        parts['averaged_weights'] = True
    for name in _LOADER_SPEED:
        (parts['test_dataloader'] or {}).pop(name, None)
    return _digest(_content(parts))


def file_sha256(path: str | os.PathLike) -> str:
    """Hash of the content of a checkpoint that was read (`fan_mm.torch_files.read_torch_file`).

    For an ONNX file, its external weight files are included.

    Args:
        path: path of the file, or the URL that it was downloaded from.

    Raises:
        InputError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        own = local_file(path)
        for part in (own, *(external_files(own) if is_onnx(own) else ())):
            with open(part, 'rb') as file:
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
            digest.update(
                value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
            )
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()


def listing_sha256(dataset: Any, infos: Sequence[Mapping]) -> str:
    """Hash of a dataset's class names, and per sample its image's key, its file's size, its labels.

    It is stored in results of all versions, so that comparisons can check that the images are the same.
    """
    meta = getattr(dataset, 'metainfo', None) or {}
    several = isinstance(meta, list)  # mmdet's ConcatDataset of datasets with different classes
    classes = [part.get('classes') for part in meta] if several else meta.get('classes')
    samples = [
        {
            'key': image_key(info['img_path']),
            'size': file_size(info['img_path']),
            'label': info.get('gt_label'),
            'instances': info.get('instances'),
            'map': file_size(info.get('seg_map_path')),
        }
        for info in infos
    ]
    return _digest([type(dataset).__name__, classes, samples])


def dataset_sha256(dataset: Any, infos: Sequence[Mapping], listing: str | None = None) -> str:
    """Hash of a dataset: its `listing_sha256`, whatever else it knows of its samples, and content.

    The content consists of the sizes of all files and the bytes of `SAMPLE` evenly spaced samples. Files
    that cannot be read here, such as those on a remote backend, are represented by their names, which is
    logged.

    Args:
        dataset: an mmengine dataset.
        infos: data infos of the samples to include.
        listing: its `listing_sha256`, if known.
    """
    samples = [_sample(info) for info in infos]
    chosen = spread(len(infos), SAMPLE)
    files = [Path(path) for i in chosen for path in _files(infos[i]).values()]
    unread = sum(size is None for sample in samples for size in sample['sizes'].values())
    if unread:
        warn(f'{unread} files of the dataset cannot be read from here: they are identified by name')
    listing = listing or listing_sha256(dataset, infos)
    return _digest([listing, samples, _bytes_sha256(files)])


def _sample(info: Mapping) -> dict[str, Any]:
    """What of a sample matters besides its listing: all but where its files lie."""
    files = _files(info)
    rest = {
        str(name): value
        for name, value in info.items()
        if name not in _LISTED and not _NAMES_A_FILE.search(str(name))
    }
    return {**rest, 'sizes': {name: file_size(path) for name, path in files.items()}}


def _files(info: Mapping) -> dict[str, str]:
    """Key -> path of the files that a sample is read from: its image, label map and so on."""
    return {
        str(name): os.fspath(value)
        for name, value in info.items()
        if _NAMES_A_FILE.search(str(name)) and isinstance(value, str | os.PathLike)
    }


def contents_of(files: Sequence[Path]) -> str:
    """Short hash of images, large ones in part: of copies, or of their originals."""
    return sample_sha256(files)[:16]


def sample_sha256(files: Sequence[Path], block: int = BLOCK) -> str:
    """Hash of names, sizes and bytes of files, of at most `SAMPLE` of them, evenly spaced.

    Args:
        files: in a reproducible order; unreadable files are represented by their names.
        block: number of bytes read at the beginning, middle and end of each file.
    """
    return _bytes_sha256((files[i] for i in spread(len(files), SAMPLE)), block)


def _bytes_sha256(files: Iterable[Path], block: int | None = None) -> str:
    """Hash of names, sizes and bytes of files; see `sample_sha256`; without a block, of all bytes."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(os.fsencode(file.name) + b'\0')
        try:
            with open(file, 'rb') as content:
                size = os.fstat(content.fileno()).st_size
                digest.update(f'{size}\0'.encode())
                if block is None or size <= 3 * block:
                    digest.update(content.read())
                    continue
                for start in (0, (size - block) // 2, size - block):
                    content.seek(start)
                    digest.update(content.read(block))
        except OSError:
            continue
    return digest.hexdigest()


def file_size(path: str | None) -> int | None:
    """Bytes of a file; None if there is none, or it lies on a remote backend."""
    try:
        return None if path is None else os.path.getsize(path)
    except OSError:
        return None
