"""Reading torch files without ever executing pickled code.

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
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import barrier, get_rank
from mmengine.logging.history_buffer import HistoryBuffer

from fan_mm.errors import InputError

_ADDRESS = 'http://', 'https://'
_NUMPY_BUILDERS = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]


def _history_method(owner: object, name: str) -> object:
    """``getattr``, for the one thing mmengine's own checkpoints need it: to name a statistic."""
    if owner is HistoryBuffer and name in ('min', 'max', 'mean', 'current'):
        return getattr(HistoryBuffer, name)
    raise pickle.UnpicklingError('GLOBAL builtins.getattr')


# Each with the name under which a file asks for it. Named pairs also outlive onedl-mmengine's
# loader, which takes back what it allowed for the time of a load.
SAFE_GLOBALS = [
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
    # numpy 2 moved `numpy.core` to `numpy._core`; a file names the one of the numpy that wrote it.
    *(
        (function, f'{package}.multiarray.{function.__name__}')
        for function in _NUMPY_BUILDERS
        for package in ('numpy.core', 'numpy._core')
    ),
]
torch.serialization.add_safe_globals(SAFE_GLOBALS)


def is_foreign(source: str) -> bool:
    """Whether only mmengine's loaders know an address, such as ``s3://`` or ``torchvision://``."""
    return '://' in source and not source.startswith(_ADDRESS)


def why_refused(error: pickle.UnpicklingError, source: str) -> str:
    """Put torch's page-long refusal of a pickle into one line.

    Args:
        error: what ``torch.load(weights_only=True)`` raised.
        source: the file, as the user named it.
    """
    wanted = re.search(r'GLOBAL (\S+)|whose module (\S+) is blocked|function (\S+)', str(error))
    if wanted is None:
        return f'{source} is not a torch checkpoint, or damaged'
    name = next(group for group in wanted.groups() if group)
    return (
        f'{source} was refused: loading it means running "{name}", and checkpoints are data here, '
        'never code; save its weights alone (a dict of tensors) where you trust it'
    )


def read_torch_file(source: str | os.PathLike) -> object:
    """Read what ``torch.save`` wrote, onto the CPU.

    Args:
        source: a path, or an http(s) address (kept in torch's hub cache; in a distributed run rank
            0 downloads first).

    Raises:
        InputError: the file is missing, damaged, unreachable, or asks for code to be run.
    """
    source = os.fspath(source)
    try:
        if source.startswith(_ADDRESS):
            return _read_url(source)
        return torch.load(local_file(source), map_location='cpu', weights_only=True)
    except FileNotFoundError:
        raise InputError(f'no such checkpoint: {source}') from None
    except pickle.UnpicklingError as error:
        raise InputError(why_refused(error, source)) from None
    except urllib.error.URLError as error:
        raise InputError(f'cannot download {source}: {error.reason}') from None
    except OSError as error:
        raise InputError(f'cannot read {source}: {error.strerror or error}') from None
    except Exception as error:  # bytes that are no pickle make the unpickler fail in any way
        reason = f'{type(error).__name__} {error}'.partition('. ')[0]
        raise InputError(f'{source} is not a torch checkpoint, or damaged ({reason})') from None


def local_file(source: str | os.PathLike) -> str:
    """Path of the file that `read_torch_file` reads, or, of an address, downloads."""
    source = os.fspath(source)
    if source.startswith(_ADDRESS):
        name = os.path.basename(urlparse(source).path)
        return os.path.join(torch.hub.get_dir(), 'checkpoints', name)
    return os.path.expanduser(source)


def _read_url(url: str) -> object:
    if get_rank() > 0:
        barrier()  # rank 0 is downloading
    checkpoint = torch.hub.load_state_dict_from_url(url, map_location='cpu', weights_only=True)
    if get_rank() == 0:
        barrier()
    return checkpoint
