"""An exported ONNX file instead of a checkpoint: the network runs in onnxruntime, the rest stays.

``tools/export.py`` writes such files (`fan_mm.deploy`). The model built from the config keeps its
data_preprocessor, its sliding-window inference and its head's postprocessing; the file replaces backbone, neck and
the head's layers. For a classifier that wraps a whole network of another library, the file replaces that network.
"""

import json
import mmap
import operator
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fan_mm.engine.exported_model import computing_part, differences
from fan_mm.errors import InputError, first_line
from fan_mm.logs import warn
from fan_mm.torch_files import local_file, read_torch_file, what_else

SUFFIX = '.onnx'
PREFIX = 'fan_mm.'  # prefix of our entries in a file's metadata
_FLOATS = ('tensor(float)', 'tensor(float16)')
_NEEDED = (  # required entries
    *('backbone', 'part', 'output', 'preprocessing', 'input', 'classes', 'palette'),
    *('size', 'free', 'normalisation'),
)
# The key of a protobuf entry that names a file of weights beside the graph, up to the name's length.
_LOCATION = re.compile(rb'\x0a\x08location\x12([\x80-\xff]?[\x01-\x7f])', re.DOTALL)


def is_onnx(source: str | os.PathLike) -> bool:
    """Whether a checkpoint is an ONNX file, by its name."""
    return os.fspath(source).lower().endswith(SUFFIX)


def open_session(model: str | os.PathLike | bytes, device: str = 'cpu') -> Any:
    """An onnxruntime session.

    Args:
        model: a file, or its content.
        device: 'cuda' uses the GPU if this onnxruntime supports it, and the CPU for unsupported operators.

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
        given, model = model, local_file(model)
        if not os.path.isfile(model):
            raise InputError(f'no such file: {given}')
    try:
        return onnxruntime.InferenceSession(model, options, providers=providers)
    except Exception as error:  # onnxruntime has a dozen kinds
        name = 'the graph' if isinstance(model, bytes) else model
        other = None if isinstance(model, bytes) else what_else(model)
        if not isinstance(model, bytes) and other is None and zipfile.is_zipfile(model):
            other = 'but a torch checkpoint: give it a name in .pth'
        if other and not other.startswith('but an ONNX file'):
            raise InputError(f'{name} is not an ONNX file, {other}') from None
        raise InputError(f'onnxruntime rejects {name}: {first_line(error)}') from None


def run_session(session: Any, images: Tensor) -> list[np.ndarray]:
    """The outputs of a session for images.

    Raises:
        InputError: the model takes another type or shape, or fails on these images.
    """
    taken = session.get_inputs()[0]
    given = images.numpy()
    if taken.type == 'tensor(float16)' and given.dtype == np.float32:
        given = given.astype(np.float16)
    try:
        return session.run(None, {taken.name: given})
    except Exception as error:  # onnxruntime has a dozen kinds
        if re.search(r'alloc|out of memory', str(error), re.IGNORECASE):
            raise InputError(
                f'not enough memory for {list(images.shape)}: smaller batches or images need less'
            ) from None
        if 'while running' in str(error):  # an error in a node, not about the input
            raise InputError(
                f'the ONNX file fails for {list(images.shape)}: {first_line(error)}'
            ) from None
        reason = first_line(error)
        if len(taken.shape) == images.ndim and 'invalid dimensions' in reason:
            reason = 'a file of --dynamic size and batch takes any'
        raise InputError(
            f'the ONNX file takes {taken.type} {taken.shape}, not {images.dtype} of shape '
            f'{list(images.shape)}: {reason}'
        ) from None


def metadata_of(session: Any, source: str | os.PathLike) -> dict[str, Any]:
    """What an exported file says of itself.

    Raises:
        InputError: the file was not exported by fan_mm, or its metadata were changed.
    """
    entries = session.get_modelmeta().custom_metadata_map
    own = {k.removeprefix(PREFIX): v for k, v in entries.items() if k.startswith(PREFIX)}
    if not own.keys() & set(_NEEDED):
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
    """The files beside an ONNX file that hold its weights, sorted."""
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


def read_checkpoint(source: str | os.PathLike) -> object:
    """Read a torch file (`read_torch_file`), or what `read_onnx` reads, as `load_weights` takes it."""
    return read_onnx(source) if is_onnx(source) else read_torch_file(source)


def read_onnx(source: str | os.PathLike) -> dict[str, Any]:
    """An exported file in the form of a checkpoint's content.

    Returns:
        'onnx', its session; 'meta', with 'dataset_meta' and the file's other metadata.

    Raises:
        InputError: see `open_session` and `metadata_of`; or the file's input or output does not fit the
            remaining parts of a model.
    """
    session = open_session(source, 'cuda' if torch.cuda.is_available() else 'cpu')
    told = metadata_of(session, source)
    if told['part'] != 'whole':
        raise InputError(
            f'{source} gives {told["part"]}, not scores: only whole classifiers and segmenters are tested'
        )
    if told['output'] != 'logits' or told['preprocessing']:
        raise InputError(
            f'{source} gives {told["output"]} for {told["input"]}: for testing, export with '
            '--output logits and without --with-preprocessing'
        )
    _check_form(session, told, source)
    meta = {'classes': tuple(told['classes'])} if told['classes'] else {}
    if told['palette']:
        meta['palette'] = told['palette']
    return {'onnx': session, 'meta': {'dataset_meta': meta, 'export': told}}


def _check_form(session: Any, told: Mapping[str, Any], source: str | os.PathLike) -> None:
    """Refuse a graph that somebody changed and that still says to be ours.

    Raises:
        InputError: its input is not normalised images, or its output not logits.
    """
    ranks = {'classification': (2,), 'segmentation': (4,)}.get(told.get('task', ''), (2, 4))
    taken, given = session.get_inputs(), session.get_outputs()
    fits = (
        len(taken) == 1
        and len(taken[0].shape) == 4
        and taken[0].shape[1] == told.get('channels', 3)
    )
    gives = [value.name for value in given] == ['logits'] and len(given[0].shape) in ranks
    for verb, values, right in (('takes', taken, fits), ('gives', given, gives)):
        if not right or values[0].type not in _FLOATS:
            has = ', '.join(f'{value.name} {value.type} {value.shape}' for value in values)
            raise InputError(
                f'{source} was changed after its export: it {verb} {has}, where a file that can be tested takes '
                f"float images (B, {told.get('channels', 3)}, H, W) and gives 'logits' alone"
            )


def are_probabilities(scores: Tensor) -> bool:
    """Whether all scores of several classes (B, K, ...) are the result of a softmax over the classes."""
    if scores.shape[1] < 2 or not scores.numel() or bool((scores < 0).any()):
        return False
    return bool(((scores.float().sum(1) - 1).abs() < 0.01).all())


class OnnxNetwork(nn.Module):
    """Replaces backbone, neck and the layers of the head.

    Args:
        session: from `open_session`; larger batches are split into its batch size.
    """

    def __init__(self, session: Any) -> None:
        super().__init__()
        self.session = session
        self.batch = session.get_inputs()[0].shape[0]
        self.looked = False  # at the scores of a batch

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """From normalised images (B, C, H, W) the scores, as a tuple of one."""
        size = self.batch if isinstance(self.batch, int) else len(images)
        parts = []
        for part in images.detach().float().cpu().split(size):
            lacking = part[-1:].expand(size - len(part), *part.shape[1:])
            filled = torch.cat([part, lacking]).contiguous()
            parts.append(run_session(self.session, filled)[0][: len(part)])
        if any(np.isnan(part).any() for part in parts):
            raise InputError('the ONNX file returns NaN: it is damaged, or float16 overflows in it')
        scores = torch.from_numpy(np.concatenate(parts)).float().to(images.device)
        if not self.looked and are_probabilities(scores):
            warn(
                "fan_mm: the 'logits' in the ONNX file are not negative and sum to 1 over the classes: if a Softmax "
                'was added after its export, probabilities and their calibration (ECE, NLL) are wrong: export it again'
            )
        self.looked = True
        return (scores,)

    def __deepcopy__(self, memo: dict) -> 'OnnxNetwork':
        return self  # sessions cannot be copied, and are immutable


class _OnnxScores(OnnxNetwork):
    """Replaces a whole network of another library.

    Args:
        session: as for `OnnxNetwork`.
        in_logits: return an object with ``logits``, like Hugging Face's networks, instead of the scores.
    """

    def __init__(self, session: Any, in_logits: bool) -> None:
        super().__init__(session)
        self.in_logits = in_logits

    def forward(self, images: Tensor) -> Any:
        """From normalised images (B, C, H, W) the scores (B, K)."""
        (scores,) = super().forward(images)
        return SimpleNamespace(logits=scores) if self.in_logits else scores


def use_onnx(model: Any, content: Mapping[str, Any], source: str) -> None:
    """Let a model get its scores from an exported file.

    Args:
        model: a classifier or segmenter; modified in place.
        content: from `read_onnx`.
        source: the file, for error messages.

    Raises:
        InputError: the file contains another model.
    """
    told, session = content['meta']['export'], content['onnx']
    if any(isinstance(p, OnnxNetwork) and p.session is session for p in model.children()):
        return
    name = computing_part(model)
    if name is None:
        raise InputError(
            f'{source} cannot replace {type(model).__name__}, which has neither a backbone nor a single part '
            'with weights'
        )
    used = getattr(model, name)
    head: Any = getattr(model, 'decode_head' if hasattr(model, 'decode_head') else 'head', None)
    if name == 'backbone' and head is None:
        raise InputError(
            f'{source} replaces a classification or segmentation model, but {type(model).__name__} is neither'
        )
    task = 'segmentation' if hasattr(model, 'decode_head') else 'classification'
    if told.get('task', task) != task:
        raise InputError(
            f'{source} was exported for {told["task"]}, but {type(model).__name__} is for {task}'
        )
    if type(used).__name__ != told['backbone']:
        raise InputError(
            f'{source} was exported from a model with {told["backbone"]}, the config has '
            f'{type(used).__name__}'
        )
    if different := differences(model, used, told):
        raise InputError(f'{source} does not match the model of the config: {different}')
    if name != 'backbone':
        setattr(model, name, _standing_for(used, session, told, source))
        return
    wanted = getattr(head, 'out_channels', None) or getattr(head, 'num_classes', None)
    _check_classes(session, wanted, source)
    model.backbone = OnnxNetwork(session)
    if getattr(model, 'neck', None) is not None:
        model.neck = None
    head.forward = operator.itemgetter(-1)


def _standing_for(
    network: nn.Module, session: Any, told: Mapping[str, Any], source: str
) -> _OnnxScores:
    """A file's scores as a whole network gives its own.

    Raises:
        InputError: it gives none, or of other classes.
    """
    like = next(network.parameters())  # may be on the GPU
    with torch.no_grad():
        shape = 1, told.get('channels', 3), *told['size']
        made = network.eval()(torch.zeros(shape, device=like.device, dtype=like.dtype))
    scores = getattr(made, 'logits', made)
    if not isinstance(scores, Tensor):
        raise InputError(
            f'{type(network).__name__} returns no plain scores that {source} could replace'
        )
    _check_classes(session, scores.shape[1], source)
    return _OnnxScores(session, scores is not made)


def _check_classes(session: Any, wanted: int | None, source: str) -> None:
    channels = session.get_outputs()[0].shape[1]
    if isinstance(channels, int) and wanted not in (None, channels):
        raise InputError(f'{source} outputs scores for {channels} classes, the config has {wanted}')
