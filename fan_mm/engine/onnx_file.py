"""An exported ONNX file in the place of a checkpoint: the network runs in onnxruntime, the rest stays.

``tools/export.py`` writes such files (`fan_mm.deploy`). The model that the config builds keeps its
data_preprocessor, its sliding window and what its head makes of scores; backbone, neck and the head's
layers are the file's.
"""

import json
import mmap
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fan_mm.errors import InputError, first_line
from fan_mm.torch_files import read_torch_file

SUFFIX = '.onnx'
PREFIX = 'fan_mm.'  # of our entries in a file's metadata
_NEEDED = (  # entries without which it is not known what a file is
    *('backbone', 'part', 'output', 'preprocessing', 'input', 'classes', 'palette'),
    *('size', 'free', 'normalisation'),
)
# How mmdet's and onedl-mmseg's, mmseg 1.2's, and mmpretrain's preprocessors say that they turn BGR into RGB.
_SWAPS = ('_channel_conversion', 'channel_conversion', 'to_rgb')
# The key of a protobuf entry that names a file of weights beside the graph, up to the name's length.
_LOCATION = re.compile(rb'\x0a\x08location\x12([\x80-\xff]?[\x01-\x7f])', re.DOTALL)


def is_onnx(source: str | os.PathLike) -> bool:
    """Whether a file given for a checkpoint is an ONNX file, by its name."""
    return os.fspath(source).lower().endswith(SUFFIX)


def open_session(model: str | os.PathLike | bytes, device: str = 'cpu') -> Any:
    """An onnxruntime session.

    Args:
        model: a file, or its content.
        device: 'cuda' runs on the GPU where this onnxruntime can; whatever cannot, on the CPU.

    Raises:
        InputError: onnxruntime is not installed, or does not take the file.
    """
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            'onnxruntime is not installed: pip install onnx onnxscript onnxruntime'
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    providers = ['CPUExecutionProvider']
    if device == 'cuda' and 'CUDAExecutionProvider' in onnxruntime.get_available_providers():
        providers.insert(0, 'CUDAExecutionProvider')
    if not isinstance(model, bytes):
        model = os.path.expanduser(os.fspath(model))
        if not os.path.isfile(model):
            raise InputError(f'no such file: {model}')
    try:
        return onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # onnxruntime has a dozen kinds
        name = 'the graph' if isinstance(model, bytes) else model
        raise InputError(f'onnxruntime rejects {name}: {first_line(error)}') from None


def run_session(session: Any, images: Tensor) -> list[np.ndarray]:
    """The outputs of a session for images.

    Raises:
        InputError: it takes another type or shape, or fails at this one.
    """
    taken = session.get_inputs()[0]
    try:
        return session.run(None, {taken.name: images.numpy()})
    except Exception as error:  # onnxruntime has a dozen kinds
        if re.search(r'alloc|out of memory', str(error), re.IGNORECASE):
            raise InputError(
                f'not enough memory for {list(images.shape)}: smaller batches or images need less'
            ) from None
        if 'while running' in str(error):  # a node of the graph, not its input
            raise InputError(
                f'the ONNX file fails for {list(images.shape)}: {first_line(error)}'
            ) from None
        raise InputError(
            f'the ONNX file takes {taken.type} {taken.shape}, not {images.dtype} of shape '
            f'{list(images.shape)}: {first_line(error)}'
        ) from None


def metadata_of(session: Any, source: str | os.PathLike) -> dict[str, Any]:
    """What an exported file says of itself.

    Raises:
        InputError: somebody else exported it, or changed what it says.
    """
    entries = session.get_modelmeta().custom_metadata_map
    own = {k.removeprefix(PREFIX): v for k, v in entries.items() if k.startswith(PREFIX)}
    if not own:
        raise InputError(
            f'{source} was not exported by fan_mm, so its inputs and outputs are not known'
        )
    found = {}
    for name, value in own.items():
        try:
            found[name] = json.loads(value)
        except ValueError:
            raise InputError(f'{source}: {PREFIX}{name} in its metadata is not JSON') from None
    if lacking := [name for name in _NEEDED if name not in found]:
        raise InputError(f'{source} lacks {PREFIX}{lacking[0]} in its metadata: export it again')
    return found


def external_files(path: str | os.PathLike) -> list[Path]:
    """The files beside an ONNX file in which it says that its weights are, sorted."""
    file = Path(path)
    if not file.stat().st_size:
        return []
    with file.open('rb') as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        names = set()
        for match in _LOCATION.finditer(data):
            length = sum((byte & 0x7F) << (7 * place) for place, byte in enumerate(match[1]))
            names.add(data[match.end() : match.end() + length])
    return sorted(
        file.parent / os.fsdecode(name)
        for name in names
        if b'\0' not in name and (file.parent / os.fsdecode(name)).is_file()
    )


def swaps_colours(preprocessor: Any) -> bool:
    """Whether a data_preprocessor turns blue first into red first."""
    return any(getattr(preprocessor, name, False) for name in _SWAPS)


def read_checkpoint(source: str | os.PathLike) -> object:
    """Read a torch file (`read_torch_file`), or what `read_onnx` reads, as `load_weights` takes it."""
    return read_onnx(source) if is_onnx(source) else read_torch_file(source)


def read_onnx(source: str | os.PathLike) -> dict[str, Any]:
    """An exported file in the form of a checkpoint's content.

    Returns:
        'onnx', its session; 'meta', with the 'dataset_meta' and what else the file says of itself.

    Raises:
        InputError: see `open_session` and `metadata_of`; or the file has another input or output
            than the rest of a model needs.
    """
    session = open_session(source, 'cuda' if torch.cuda.is_available() else 'cpu')
    told = metadata_of(session, source)
    if told['part'] != 'whole' or told['output'] != 'logits' or told['preprocessing']:
        raise InputError(
            f'{source} gives {told["output"] if told["part"] == "whole" else told["part"]} for '
            f'{told["input"]}: for testing, export with --output logits and without '
            '--with-preprocessing'
        )
    meta = {'classes': tuple(told['classes'])} if told['classes'] else {}
    if told['palette']:
        meta['palette'] = told['palette']
    return {'onnx': session, 'meta': {'dataset_meta': meta, 'export': told}}


class OnnxNetwork(nn.Module):
    """Stands for backbone, neck and the layers of the head.

    Args:
        session: from `open_session`; a batch that it does not take at once goes image by image.
    """

    def __init__(self, session: Any) -> None:
        super().__init__()
        self.session = session
        self.batch = session.get_inputs()[0].shape[0]

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """From normalised images (B, 3, H, W) the scores, as a tuple of one."""
        size = self.batch if isinstance(self.batch, int) else len(images)
        parts = [
            run_session(self.session, part.detach().float().cpu().contiguous())[0]
            for part in images.split(size)
        ]
        return (torch.from_numpy(np.concatenate(parts)).to(images.device),)

    def __deepcopy__(self, memo: dict) -> 'OnnxNetwork':
        return self  # a session cannot be copied, and does not change


def use_onnx(model: Any, content: Mapping[str, Any], source: str) -> None:
    """Let a model get its scores from an exported file.

    Args:
        model: a classifier or segmenter; changed in place.
        content: from `read_onnx`.
        source: the file, for the error's line.

    Raises:
        InputError: the file is of another model.
    """
    told = content['meta']['export']
    used = getattr(model, 'backbone', None)
    if isinstance(used, OnnxNetwork) and used.session is content['onnx']:
        return
    name = 'decode_head' if hasattr(model, 'decode_head') else 'head'
    head, backbone = getattr(model, name, None), getattr(model, 'backbone', None)
    if head is None or backbone is None:
        raise InputError(
            f'{source} replaces a classification or segmentation model, but {type(model).__name__} is neither'
        )
    if type(backbone).__name__ != told['backbone']:
        raise InputError(
            f'{source} was exported from a model with {told["backbone"]}, the config has '
            f'{type(backbone).__name__}'
        )
    if different := _differences(model, told):
        raise InputError(f'{source} does not match the model of the config: {different}')
    channels = content['onnx'].get_outputs()[0].shape[1]
    wanted = getattr(head, 'out_channels', None) or getattr(head, 'num_classes', channels)
    if isinstance(channels, int) and channels != wanted:
        raise InputError(f'{source} outputs scores for {channels} classes, the config has {wanted}')
    model.backbone = OnnxNetwork(content['onnx'])
    if getattr(model, 'neck', None) is not None:
        model.neck = None
    head.forward = _last


def _differences(model: Any, told: Mapping[str, Any]) -> str:
    """What a file says of its backbone and of the pixels that it takes, where the config says otherwise."""
    for name, value in _settings(getattr(model.backbone, 'arch', None)).items():
        exported = _settings(told.get('arch')).get(name, value)
        if exported != value:
            return f'{name} of its {told["backbone"]} is {exported}, the config has {value}'
    made, stated = getattr(model, 'data_preprocessor', None), told['normalisation']
    mean = getattr(made, 'mean', None)
    if mean is None or not stated.get('mean'):
        return ''  # a pipeline may normalise
    for name in ('mean', 'std'):
        ours = getattr(made, name).flatten().double().cpu()
        theirs = torch.as_tensor(stated[name], dtype=torch.double).flatten()
        if bool(((ours - theirs).abs() > 1e-5 * theirs.abs() + 1e-6).any()):
            have = [round(value, 4) for value in ours.tolist()]
            return f'{name} for its pixels is {stated[name]}, in data_preprocessor {have}'
    if swaps_colours(made) != any(stated.get(n) for n in ('bgr_to_rgb', 'rgb_to_bgr', 'to_rgb')):
        return f'data_preprocessor of the file is {stated}, and swaps red and blue differently'
    return ''


def _settings(arch: Any) -> dict[str, Any]:
    """A backbone's arch, a name or settings by their names, as JSON has it."""
    found = json.loads(json.dumps(arch, default=str))
    return found if isinstance(found, dict) else {'arch': found} if isinstance(found, str) else {}


def _last(features: tuple[Tensor, ...]) -> Tensor:
    return features[-1]
