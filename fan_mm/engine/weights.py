"""Loading a checkpoint into the model that it must be of."""

import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import BaseModule, BaseTTAModel
from mmengine.runner import BaseLoop, Runner
from torch import Tensor, nn

from fan_mm.config_parts import type_name
from fan_mm.engine.distributed import unwrapped
from fan_mm.engine.onnx_file import use_onnx
from fan_mm.errors import InputError, about
from fan_mm.logs import warn
from fan_mm.models.checkpoints import (
    CheckpointedBackbone,
    adapt,
    check_values,
    fan_places,
    fans_inside,
    find_module,
    in_our_names,
    load_pretrained,
    load_strictly,
    model_around,
)
from fan_mm.models.weight_tree import WeightTree, below
from fan_mm.torch_files import is_foreign, read_torch_file

# Options of a converted file (`fan_mm.models.conversion`) that does not specify them.
_DEFAULTS = dict(paired_frequencies=True, out_norm=False, mlp_identity=False, always_shift=False)

# A model's backbone, not the one in the stem of a hybrid network.
_BACKBONE = re.compile(r'(^|\.)(?<!patch_embed\.)backbone\.')


def load_weights(model: nn.Module, checkpoint: object, source: str) -> None:
    """Load a checkpoint's weights to test, and refuse it if a part of the model gets none.

    Args:
        model: a model, possibly wrapped in DDP or for test-time augmentation.
        checkpoint: content of the file (`fan_mm.engine.onnx_file.read_checkpoint`).
        source: the file, for error messages.

    Raises:
        InputError: the file contains no weights, those of another model, or was converted for a backbone
            with other options.
    """
    model = _innermost(model)
    if isinstance(checkpoint, Mapping) and 'onnx' in checkpoint:
        use_onnx(model, checkpoint, source)
        return
    place, tree = _find(model, checkpoint, source)
    _say_averages(tree, place, source)
    state = tree.below(place)
    _check_adapters(model, state, source)
    given = _from_init_cfg(model, state, source)
    load_strictly(model, state, f'{source} does not match the config', given)
    if given:
        parts = ', '.join(sorted({name.partition('.')[0] for name in given}))
        print_log(f'{source} has no {parts}: taken from the file of its init_cfg', 'current')
    _check_options(getattr(model, 'backbone', None), checkpoint, source)


def _innermost(model: Any) -> nn.Module:
    """A model without its wrappers for several processes or test-time augmentation."""
    while isinstance(model := unwrapped(model), BaseTTAModel):
        model = model.module
    return model


def _find(model: nn.Module, content: object, source: str) -> tuple[str, WeightTree]:
    """Where a model's weights lie in a file, and all that the file holds.

    Raises:
        InputError: the file has no weights, several models, or a released FAN, whose names differ.
    """
    with about(source):
        tree = WeightTree(content)
        place = find_module(tree, model)
    fans, own = fans_inside(model), model.state_dict().keys()
    bare = [fan for fan in fan_places(tree) if model_around(tree, fan) == fan]
    if bare and fans and '' not in fans and not own & in_our_names(model, tree.below(place)).keys():
        raise InputError(
            f'{source} contains a FAN in the released format, not a whole model: convert a '
            'classifier with tools/convert_checkpoint.py; in other models, load it with the init_cfg of the '
            'backbone'
        )
    return place, tree


def _say_averages(tree: WeightTree, place: str, source: str) -> None:
    """Warn if a file has averages of the weights at a place, which are those of ``state_dict`` in nearly every file."""
    if averages := tree.averages(place):
        warn(
            f'fan_mm: {source} also has averaged weights below {averages[0][:-1]}, which are not '
            'used here: to use them, save them in a separate file'
        )


def _pretrained_parts(model: nn.Module) -> Iterator[tuple[str, BaseModule, Mapping]]:
    """Parts whose weights come from a file of their own: what their names begin with, and the config."""
    for path, part in model.named_modules():
        cfgs = getattr(part, 'init_cfg', None) or ()
        for cfg in [cfgs] if isinstance(cfgs, Mapping) else cfgs:
            if type_name(cfg) in ('Pretrained', 'PretrainedInit') and cfg.get('checkpoint'):
                yield (f'{path}.' if path else ''), part, cfg


def _from_init_cfg(model: nn.Module, state: Mapping[str, Tensor], source: str) -> set[str]:
    """Load what a file of a head or of adapters was trained on.

    Returns:
        Names of the tensors that now have their weights. Parts for which the file itself has some weights are
        not loaded, so that two trainings are never mixed silently.

    Raises:
        InputError: the file of an ``init_cfg`` that is needed cannot be loaded.
    """
    own, there = model.state_dict().keys(), in_our_names(model, state).keys()
    given = set()
    for prefix, part, cfg in _pretrained_parts(model):
        needed = {n for n in own if n.startswith(prefix) and not n.endswith('_tracked')} - there
        if not needed or not own & there or is_foreign(cfg['checkpoint']):
            continue
        try:
            loaded = _load_part(part, cfg)
        except InputError as error:
            name = prefix.removesuffix('.') or 'model'
            raise InputError(
                f'{source} lacks {min(needed)}, and the init_cfg of {name} cannot provide it: {error}'
            ) from None
        loaded = {prefix + name for name in loaded}
        if not loaded & there:
            given |= loaded
    return given


def _load_part(part: BaseModule, cfg: Mapping) -> set[str]:
    """Load the file of an ``init_cfg``; returns the names of the part's tensors that it has."""
    if isinstance(part, CheckpointedBackbone):
        return load_pretrained(part, cfg['checkpoint'], cfg.get('weights'), cfg.get('prefix'))
    tree, own = WeightTree(read_torch_file(cfg['checkpoint']), cfg.get('prefix')), part.state_dict()
    state = tree.below(find_module(tree, part))
    fitting = {n: v for n, v in state.items() if n in own and v.shape == own[n].shape}
    check_values(fitting, own)
    part.load_state_dict(fitting, strict=False)
    return set(fitting)


def _check_adapters(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Refuse adapters on random weights: mmpretrain's LoRAModel neither saves nor misses the base."""
    for path, part in model.named_modules():
        if type(part).__name__ != 'LoRAModel' or not isinstance(part.module, BaseModule):
            continue
        prefix = f'{path}.' if path else ''
        base = [name for name in below(prefix, state) if '.lora_' not in name]
        if not base and not any(part.module is inner for _, inner, _ in _pretrained_parts(part)):
            raise InputError(
                f'{source} contains only adapters, and their base has random weights: set '
                f'{prefix}module.init_cfg to the base weights'
            )


class LoadFromHook(Hook):
    """Pass the weights of ``load_from`` to mmengine with the model's own names, wherever they are in the file.

    mmengine reads only ``state_dict``, removes ``module.``, and skips missing keys. For a training, some parts
    may be missing, but not all.
    """

    priority = 'HIGHEST'  # before mmengine's EMAHook takes its copy

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Replace ``checkpoint['state_dict']`` where the weights lie elsewhere."""
        model, source = _innermost(runner.model), str(runner._load_from)
        place, tree = _find(model, checkpoint, source)
        state, own = tree.below(place), model.state_dict()
        named = in_our_names(model, state)
        if own and not own.keys() & named.keys():
            raise InputError(
                f'{source} has none of the {len(own)} tensors of the model: nothing would be loaded'
            )
        with about(source):
            check_values(named, own)
            for prefix, fan in fans_inside(model).items():
                if part := below(prefix, state):
                    adapt(part, fan)  # raise here with the file's name, which mmengine omits
        if runner._resume:
            _refuse_other_shapes(model, named, source)
        if isinstance(runner._train_loop, BaseLoop):  # before a test, `load_weights` has said it
            _say_averages(tree, place, source)
        if place != 'state_dict.' or state.keys() != checkpoint['state_dict'].keys():
            checkpoint['state_dict'] = state
            if place:
                runner.logger.log(
                    logging.INFO, f'fan_mm: {source}: weights from below {place[:-1]}'
                )


def _refuse_other_shapes(model: nn.Module, state: Mapping, source: str) -> None:
    """Refuse to resume with weights of other shapes: mmengine would continue with random values."""
    for name, own in model.named_parameters():  # buffers may change shape in training
        if name in state and own.shape != state[name].shape:
            raise InputError(
                f"{source} is of another config's training (load_from uses only its weights): {name} is "
                f'{list(state[name].shape)} in it, and {list(own.shape)} in the model'
            )


def _check_options(backbone: object, checkpoint: object, source: str) -> None:
    """Compare the options that weights do not show with those that the converter wrote down."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
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
            f'{source} was converted from weights that need other backbone options than '
            f'the config has: add --cfg-options {options}'
        )


def check_start(model: dict, path: str) -> None:
    """Check the file that a training is to start from (``load_from``).

    Parts may differ, such as the head, and a file may contain only heads and necks. From a file with only the
    backbone, like NVIDIA's, nothing would be loaded. A classifier must have the same number of classes.

    Raises:
        InputError: the file cannot be used; the message says what to do instead.
    """
    with about('load_from'):
        tree = WeightTree(read_torch_file(path))
    as_backbone = (
        '--cfg-options load_from=None model.backbone.init_cfg.type=Pretrained '
        f'model.backbone.init_cfg.checkpoint={path}'
    )
    beside = '|'.join(name for name in model if name.endswith(('head', 'neck')))
    of_parts = re.compile(rf'(^|\.)({beside})\.')
    heads_only = beside and all(of_parts.search(name) for name in tree.tensors)
    found_backbone = any(_BACKBONE.search(name) for name in tree.tensors)
    if model.get('backbone') and not found_backbone and not heads_only:
        raise InputError(
            f'load_from: {path} is not a whole model, so nothing would be loaded: convert it '
            f'(tools/convert_checkpoint.py), or use it for the backbone only: {as_backbone}'
        )
    classes = (model.get('head') or {}).get('num_classes')
    found = {
        len(v) for name, v in tree.tensors.items() if re.search(r'(^|\.)head\.fc\.weight$', name)
    }
    if classes is not None and found and classes not in found:
        raise InputError(
            f'load_from: {path} has {max(found)} classes, the config {classes}: to fine-tune '
            f'its backbone with a new classifier, {as_backbone}'
        )
