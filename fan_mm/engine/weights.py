"""Loading a checkpoint into the model that it must be of.

mmengine skips what is missing or has another shape with no more than a line in the log.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

from fan_mm.errors import InputError
from fan_mm.models.checkpoints import to_ours
from fan_mm.torch_files import read_torch_file


def load_weights(model: nn.Module, checkpoint: object, source: str) -> None:
    """Load a checkpoint's weights to test, and refuse it if a part of the model stays without.

    Args:
        model: a model, wrapped for several processes or for test-time augmentation or not.
        checkpoint: content of the file (`fan_mm.torch_files.read_torch_file`).
        source: the file, for the error's line.

    Raises:
        InputError: the file holds no weights, or not this model's.
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    state = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict):
        raise InputError(f'{source} holds no weights')
    state = {name.removeprefix('module.'): value for name, value in state.items()}
    own = model.state_dict()
    try:
        missing = model.load_state_dict(state, strict=False).missing_keys
    except InputError as error:  # a FAN backbone's own
        raise InputError(f'{source} does not fit the config: {error}') from None
    except RuntimeError as error:  # torch's list of shapes, a line each
        _check_names(own, state, source)
        first, _, rest = str(error).partition('size mismatch for ')[2].partition(':')
        shapes = re.findall(r'torch\.Size\((\[[\d, ]*\])\)', rest.partition('\n')[0])
        hint = ' instead of '.join(shapes)
        raise InputError(
            f'{source} does not fit the config: the shape of {first} is another ({hint})'
        ) from None
    missing = [name for name in missing if not name.endswith('num_batches_tracked')]
    if missing:
        _check_names(own, state, source)
        raise InputError(
            f'{source} does not fit the config: it lacks {len(missing)} of {len(own)} tensors, '
            f'such as {missing[0]}'
        )


def _check_names(own: Mapping, state: Mapping, source: str) -> None:
    """Raise InputError if the file has no half of the model's tensors, whatever their shapes."""
    known = {*state, *(to_ours(name.removeprefix('backbone.')) for name in state)}
    found = [name for name in own if name in known or name.removeprefix('backbone.') in known]
    if 2 * len(found) < len(own):
        raise InputError(
            f"{source} does not fit the config: it has {len(found)} of the model's {len(own)} "
            "tensors, so it is another model's file"
        )


def check_start(model: dict, path: str) -> None:
    """Check the file that a training is to start from (``load_from``).

    Parts may differ, as with another head. It must be a whole model, though: of the backbone alone,
    as NVIDIA's files are, nothing would be loaded. A classifier must know the same classes.

    Args:
        model: the config of the model.
        path: the file.

    Raises:
        InputError: it is neither; says what to do instead.
    """
    content = read_torch_file(Path(path).expanduser())
    state = content.get('state_dict', content) if isinstance(content, dict) else {}
    state = {name.removeprefix('module.'): value for name, value in state.items()}
    as_backbone = (
        '--cfg-options load_from=None model.backbone.init_cfg.type=Pretrained '
        f'model.backbone.init_cfg.checkpoint={path}'
    )
    if model.get('backbone') and not any(name.startswith('backbone.') for name in state):
        raise InputError(
            f'load_from: {path} is no whole model and nothing of it would be loaded: convert it '
            f'(tools/convert_checkpoint.py), or take it for the backbone alone: {as_backbone}'
        )
    classes = (model.get('head') or {}).get('num_classes')
    weight = state.get('head.fc.weight')
    if classes is not None and weight is not None and len(weight) != classes:
        raise InputError(
            f'load_from: {path} classifies {len(weight)} classes, the config {classes}: to fine-tune '
            f'its backbone with a new classifier, {as_backbone}'
        )
