"""Storage and decoders that a config names: a name that nobody has, or that is not there, fails at every file."""

from collections.abc import Mapping
from typing import Any

import mmcv.image.io as mmcv_io
from mmengine.fileio.backends import backends

from fan_mm.engine.config.registered import base_named
from fan_mm.errors import InputError


def check_storage(place: str, cfg: Mapping) -> None:
    """Check the name of the storage backend of a dataset, a transform or a metric.

    Raises:
        InputError: no backend is registered under this name.
    """
    arguments = cfg.get('backend_args')
    name = arguments.get('backend') if isinstance(arguments, Mapping) else None
    if name is not None and name not in backends:
        raise InputError(
            f'{place}.backend_args: there is no storage backend {name!r}, only {", ".join(sorted(backends))}'
        )


def check_decoder(place: str, cls: Any, step: Mapping) -> None:
    """Check that the decoder with which one of mmcv's loaders reads images is installed.

    Raises:
        InputError: it is not installed, for which mmcv only reports that None has no attribute.
    """
    if not any(base_named(cls, name, 'mmcv') for name in ('LoadImageFromFile', 'LoadAnnotations')):
        return
    decoder = step.get('imdecode_backend')
    if decoder == 'turbojpeg' and mmcv_io.jpeg is None:
        raise InputError(
            f"{place}: imdecode_backend='turbojpeg' needs PyTurboJPEG, and mmcv.use_backend('turbojpeg') in a "
            "module of custom_imports: use 'cv2' or 'pillow'"
        )
    if decoder == 'tifffile' and mmcv_io.tifffile is None:
        raise InputError(
            f"{place}: imdecode_backend='tifffile' needs tifffile: pip install tifffile"
        )
