"""Reading files of weights, torch's and ``.safetensors``, without ever executing pickled code.

torch's ``weights_only=True`` unpickler builds tensors, containers and the types it was told are
harmless. `SAFE_GLOBALS` tells it the few that honest training state holds beyond tensors: from the
import of this module on, mmengine's loaders accept mmengine's own checkpoints in that safe mode too.
onedl-mmengine falls back to executing the pickle unless ``TORCH_FORCE_WEIGHTS_ONLY_LOAD=1`` is in
the environment; our entry points set it.
"""

import argparse
import os
import pickle
import re
import urllib.error
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
import torch
from mmengine.dist import barrier, get_rank
from mmengine.logging.history_buffer import HistoryBuffer

from fan_mm.errors import InputError
from fan_mm.safetensors_files import is_safetensors, read_safetensors

_ADDRESS = 'http://', 'https://'
_LOCAL = re.compile('file://(localhost)?')
_NUMPY_BUILDERS: tuple[Any, ...] = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]


def _history_method(owner: object, name: str) -> object:
    """``getattr``, for the one thing mmengine's own checkpoints need it: to name a statistic."""
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError('GLOBAL builtins.getattr')


class _Settings:
    """Stands in for objects that hold a training's settings and are none of ours: it keeps nothing."""

    def __new__(cls, *_: object) -> '_Settings':
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Forget it."""


class _SettingsDict:
    """Stands in for classes of dicts: what is read is a plain one."""

    def __new__(cls, *_: object) -> dict:  # type: ignore[misc]  # not of this class, on purpose
        return {}


# Beside the weights in files of Lightning, of TAO, which uses it with OmegaConf, and of others.
_SETTINGS = [
    *('omegaconf.dictconfig.DictConfig', 'omegaconf.listconfig.ListConfig'),
    *('omegaconf.base.ContainerMetadata', 'omegaconf.base.Metadata', 'typing.Any'),
    *(
        f'omegaconf.nodes.{kind}Node'
        for kind in ('Any', 'String', 'Integer', 'Float', 'Boolean', 'Bytes', 'Path', 'Enum')
    ),
    *(f'builtins.{kind}' for kind in ('int', 'float', 'bool', 'str', 'dict', 'list', 'tuple')),
    *('pathlib.PosixPath', 'pathlib.WindowsPath', 'pathlib._local.PosixPath'),
    *('types.SimpleNamespace', 'datetime.datetime', 'datetime.date', 'datetime.timedelta'),
]
_SETTINGS_DICTS = [
    *('collections.defaultdict', 'easydict.EasyDict', 'yacs.config.CfgNode', 'addict.addict.Dict'),
    *('mmengine.config.config.ConfigDict', 'mmcv.utils.config.ConfigDict'),
    'pytorch_lightning.utilities.parsing.AttributeDict',
    'lightning_fabric.utilities.data.AttributeDict',
    'lightning.fabric.utilities.data.AttributeDict',
]

# Each with the name under which a file asks for it. Named pairs also outlive onedl-mmengine's
# loader, which takes back what it allowed for the time of a load.
SAFE_GLOBALS: list[Callable | tuple[Callable, str]] = [
    *(
        (cls, f'{cls.__module__}.{cls.__qualname__}')
        for cls in (
            argparse.Namespace,  # timm's "args"
            HistoryBuffer,  # mmengine's message hub
            np.ndarray,
            np.dtype,
            *{type(np.dtype(code)) for code in '?bhilqBHILQefd'},
        )
    ),
    (_history_method, 'builtins.getattr'),  # for the message hub too
    *((_Settings, name) for name in _SETTINGS),
    *((_SettingsDict, name) for name in _SETTINGS_DICTS),
    # numpy 2 moved `numpy.core` to `numpy._core`; a file names the one of the numpy that wrote it.
    *(
        (function, f'{package}.multiarray.{function.__name__}')
        for function in _NUMPY_BUILDERS
        for package in ('numpy.core', 'numpy._core')
    ),
]
torch.serialization.add_safe_globals(SAFE_GLOBALS)


# Hugging Face's names of one of several files: model-00001-of-00003.safetensors
_SHARD = re.compile(r'-(\d{5})-of-(?!00001)(\d{5})\.\w+$')


_CHUNK = 1 << 20  # bytes
_OLD_FORMAT = b'l\xfc\x9cF\xf9 j\xa8P\x19.'  # the number that files before torch 1.6 begin with


class DamagedFileError(InputError):
    """The file is no checkpoint, or no longer a whole one."""


def names_file(source: str) -> bool:
    """Whether a source is a path on this machine, also as ``file://``."""
    return '://' not in source or _LOCAL.match(source) is not None


def is_foreign(source: str) -> bool:
    """Whether only mmengine's loaders know an address, such as ``s3://`` or ``torchvision://``."""
    return not names_file(source) and not source.startswith(_ADDRESS)


def why_refused(error: pickle.UnpicklingError, source: str) -> str:
    """Put torch's page-long refusal of a pickle into one line.

    Args:
        error: what ``torch.load(weights_only=True)`` raised.
        source: the file, as the user named it.
    """
    wanted = re.search(r'GLOBAL (\S+)|whose module (\S+) is blocked|function (\S+)', str(error))
    if wanted is None:
        return f'{source} is not a torch checkpoint, {what_else(source) or "or damaged"}'
    name = next(group for group in wanted.groups() if group)
    return (
        f'{source} was refused: loading it would run "{name}", but checkpoints must be data, '
        'not code; where you trust it, save only its weights (a dict of tensors)'
    )


def read_torch_file(source: str | os.PathLike) -> object:
    """Read what ``torch.save`` wrote, or a ``.safetensors`` file, onto the CPU.

    Args:
        source: a path, also as ``file://``, or an http(s) address (kept in torch's hub cache; in a distributed
            run rank 0 downloads first).

    Raises:
        InputError: the file is missing, damaged, unreachable, or asks for code to be run.
    """
    source = os.fspath(source)
    try:
        if source.startswith(_ADDRESS):
            _download(source)
        path = local_file(source)
        if os.path.isfile(path) and (shard := _SHARD.search(path)):
            raise InputError(
                f'{source} is one shard ({int(shard[1])} of {int(shard[2])}) of a checkpoint in several '
                'files: save it as one (max_shard_size)'
            )
        if is_safetensors(path):
            return read_safetensors(path)
        content = torch.load(path, map_location='cpu', weights_only=True)
        if record := _damaged_record(path):
            raise DamagedFileError(
                f'{source} is damaged: the bytes of {record} in it have changed; get it again'
            )
        return content
    except DamagedFileError:
        raise
    except InputError as error:
        other = what_else(source)
        raise InputError(
            f'{source} is not a .safetensors file, {other}' if other else error
        ) from None
    except FileNotFoundError:
        raise InputError(f'no such checkpoint: {source}') from None
    except pickle.UnpicklingError as error:
        refused = 'was refused' in (line := why_refused(error, source))
        raise (InputError if refused else DamagedFileError)(line) from None
    except urllib.error.URLError as error:
        raise InputError(f'cannot download {source}: {error.reason}') from None
    except IsADirectoryError as error:
        raise InputError(f'cannot read {source}: {_sharded(source) or error.strerror}') from None
    except OSError as error:
        raise InputError(f'cannot read {source}: {error.strerror or error}') from None
    except Exception as error:  # bytes that are no pickle make the unpickler fail in any way
        reason = f'{type(error).__name__} {error}'.partition('\n')[0].partition('. ')[0]
        other = what_else(source) or f'or damaged ({reason})'
        raise DamagedFileError(f'{source} is not a torch checkpoint, {other}') from None


# version of the format and who made it, the first fields of an ONNX file
_ONNX = re.compile(rb'\x08[\x01-\x20]\x12[\x01-\x20](pytorch|onnx|skl2onnx|tf2onnx)')


def _damaged_record(path: str) -> str | None:
    """The first part of torch's archive whose checksum is another; torch does not compare them."""
    if not zipfile.is_zipfile(path):
        return None  # the format before 1.6 has none
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if not record.CRC:
                continue  # none was written: set_crc32_options(False), skip_data()
            try:
                with archive.open(record) as content:
                    while content.read(_CHUNK):
                        pass
            except zipfile.BadZipFile:
                return record.filename
    return None


def what_else(source: str) -> str | None:
    """What a file is that is no checkpoint, ``but ...``, and what to do; None where its beginning does not say."""
    if source.endswith('.distcp'):
        return 'but one shard of it (FSDP): give its folder, to read how they are gathered'
    try:
        path = Path(local_file(source))
        with open(path, 'rb') as file:
            start = file.read(4096)
        if zipfile.is_zipfile(path):
            return _archive(zipfile.ZipFile(path).namelist())
    except (OSError, zipfile.BadZipFile):
        return None
    if not start:
        return 'but empty (0 bytes): get it again'
    text = start.lstrip().lower()
    if text.startswith(b'version https://git-lfs'):
        return 'but a Git LFS pointer: run git lfs pull'
    if text.startswith((b'<!doctype', b'<html', b'<?xml')):
        return 'but a web page: the download failed, open it in a browser to see why'
    if text.startswith(b'{') and (b'"weight_map"' in start or path.name.endswith('.index.json')):
        return 'but the index of one in several files: save it as one (max_shard_size)'
    if start.startswith((b'\x1f\x8b', b'BZh', b'\xfd7zXZ', b'7z\xbc\xaf', b'Rar!')):
        return 'but a compressed archive: unpack it'
    if path.suffix.lower() == '.onnx' or _ONNX.match(start):
        return (
            'but an ONNX file: give the original checkpoint (to test this file, rename it to .onnx)'
        )
    if start[257:262] == b'ustar':
        return 'but a tar archive: unpack it'
    if start.startswith(b'\x89HDF'):
        return 'but an HDF5 file'
    if start[4:8] in (b'ORTM', b'TFL3'):
        return 'but a graph of onnxruntime or TensorFlow Lite: give the original checkpoint'
    if not start.strip(b'\0'):
        return 'but zeros: the copy or download was interrupted'
    if start.startswith(b'\x80') and _OLD_FORMAT not in start and start[3:8].strip(b'\0'):
        return 'but a plain pickle: save its arrays with torch.save, as a dict of tensors'
    return _as_text(start)


def _as_text(start: bytes) -> str | None:
    """The first words of a file that is text, such as what a server answered."""
    try:
        words = ' '.join(start.decode().split())
    except UnicodeDecodeError:
        return None
    shown = words if len(words) <= 60 else f'{words[:60]}...'
    return f'but text: {shown}' if words.isprintable() else None


def _archive(names: list[str]) -> str | None:
    """What a zip archive is; None for what torch wrote."""
    inside = {name.rpartition('/')[2] for name in names}
    if 'archive_format' in inside:
        return 'but a program of torch.export: give the original checkpoint'
    if 'constants.pkl' in inside:
        return 'but a TorchScript program: save its state_dict'
    if 'data.pkl' in inside:
        return None
    if inside and all(name.endswith('.npy') for name in inside):
        return 'but NumPy arrays: save them with torch.save, as a dict of tensors'
    return f'but an archive of {", ".join(names[:3]) or "nothing"}: unpack it'


def _sharded(folder: str) -> str | None:
    """How to gather a checkpoint that fills a folder; None if it holds none of a known kind."""
    names = os.listdir(local_file(folder))
    if '.metadata' in names and any(name.endswith('.distcp') for name in names):
        gather = 'python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE'
        return f'a checkpoint in shards (FSDP), which {gather} gathers'
    if 'zero_to_fp32.py' in names or any('mp_rank_' in name for name in names):
        return "a checkpoint in shards (DeepSpeed), which its folder's zero_to_fp32.py gathers"
    if any(name.endswith('.index.json') for name in names):
        return 'a checkpoint in several files: save it as one (max_shard_size)'
    return None


def local_file(source: str | os.PathLike) -> str:
    """Path of the file that `read_torch_file` reads (``file://`` too), or, of an address, downloads."""
    source = os.fspath(source)
    if source.startswith(_ADDRESS):
        name = os.path.basename(urlparse(source).path)
        return os.path.join(torch.hub.get_dir(), 'checkpoints', name)
    if address := _LOCAL.match(source):
        source = url2pathname(source[address.end() :])
    return os.path.expanduser(source)


def _download(url: str) -> None:
    """Fetch a file into torch's hub cache, unless it is there: rank 0 first, then those on other disks."""
    path = local_file(url)
    try:
        if get_rank() == 0:
            _fetch(url, path)
    finally:
        barrier()
    _fetch(url, path)


def _fetch(url: str, path: str) -> None:
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        torch.hub.download_url_to_file(url, path)
