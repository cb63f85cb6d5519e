"""Loading a checkpoint into the model that it must be of."""

from collections.abc import Mapping
from pathlib import Path

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

from fan_mm.engine.onnx_file import use_onnx
from fan_mm.errors import InputError
from fan_mm.models.checkpoints import CheckpointedBackbone, load_strictly
from fan_mm.torch_files import read_torch_file

# What a converted file means (`fan_mm.models.conversion`) where it names none of them.
_DEFAULTS = dict(paired_frequencies=True, out_norm=False, mlp_identity=False, always_shift=False)


def load_weights(model: nn.Module, checkpoint: object, source: str) -> None:
    """Load a checkpoint's weights to test, and refuse it if a part of the model stays without.

    Args:
        model: a model, wrapped for several processes or for test-time augmentation or not.
        checkpoint: content of the file (`fan_mm.engine.onnx_file.read_checkpoint`).
        source: the file, for the error's line.

    Raises:
        InputError: the file holds no weights, or not this model's, or was converted for a backbone
            with other options.
    """
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    if isinstance(checkpoint, Mapping) and 'onnx' in checkpoint:
        use_onnx(model, checkpoint, source)
        return
    state = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(state, dict):
        raise InputError(f'{source} holds no weights')
    state = {name.removeprefix('module.'): value for name, value in state.items()}
    load_strictly(model, state, f'{source} does not fit the config')
    _check_options(getattr(model, 'backbone', None), checkpoint, source)


def _check_options(backbone: object, checkpoint: Mapping, source: str) -> None:
    """Compare the options that weights do not show with those that the converter wrote down."""
    meta = checkpoint.get('meta')
    needed = meta.get('backbone') if isinstance(meta, Mapping) else None
    if not isinstance(needed, Mapping) or not isinstance(backbone, CheckpointedBackbone):
        return
    needed = {**_DEFAULTS, **needed}
    wrong = [
        f'model.backbone.{name}={needed[name]}'.replace(' ', '')
        for name, value in backbone.unseen_options.items()
        if needed.get(name, value) != value
    ]
    if wrong:
        options = ' '.join(f'"{option}"' if '(' in option else option for option in wrong)
        raise InputError(
            f'{source} was converted from weights that need another backbone than the '
            f"config's: add --cfg-options {options}"
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
