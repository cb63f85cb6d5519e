"""Backbones that read official checkpoints as they are, and say what does not fit."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Size, Tensor, nn

from fan_mm.config_parts import type_name
from fan_mm.errors import InputError, about
from fan_mm.few_names import few_and_more
from fan_mm.models.checkpoints.anatomy import Anatomy, describe, other_network
from fan_mm.models.checkpoints.key_names import DERIVED, to_official, translate, with_final_norm
from fan_mm.models.checkpoints.places import ASK_CONVERTER, fan_places
from fan_mm.models.checkpoints.values import check_values
from fan_mm.models.weight_tree import SAVE_ALONE, WeightTree, below
from fan_mm.torch_files import read_torch_file

# Parts of a network that a backbone may lack although the file has them, each as a whole: heads,
# and whatever cannot reach the outputs that this backbone was built for (spec 4.2).
_PART = re.compile(
    r'patch_embed\.(backbone\.(stem|stages\.\d+)|proj)|blocks\.\d+(\.downsample)?'
    r'|layers\.\d+\.(blocks\.\d+|downsample)|cls_attn_blocks\.\d+\.\w+|[^.]+'
)
# What a file may lack although the backbone has it: layers that dense outputs add (spec 7.5, 8).
_ADDED_FOR_DENSE = re.compile(r'(learnable_downsample|out_norm\d|norm\d)\.')
_ASK_INIT_CFG = 'choose one with init_cfg.prefix={place}'


class CheckpointedBackbone(BaseModule):
    """A backbone that reads official checkpoints as they are.

    Its ``load_state_dict``, alone or as part of any model and through mmengine's loaders too,
    accepts official and our key names; called on the backbone itself, also wrapped checkpoints
    (`unwrap`) and whole models' (the part below ``backbone.``). ``init_cfg=dict(type='Pretrained',
    checkpoint=PATH_OR_URL, weights=None, prefix=None)`` goes through `load_pretrained`; a checkpoint
    of None loads nothing.
    """

    init_cfg: Any
    embed_dims: int

    @property
    def anatomy(self) -> Anatomy:
        """Description of checkpoints of this architecture."""
        raise NotImplementedError

    @property
    def unseen_options(self) -> dict[str, object]:
        """Options that change the outputs although every weight would fit with others, too."""
        return {}

    def init_weights(self) -> None:
        """Initialise as ``init_cfg`` says; a checkpoint comes last and is read by our own loader."""
        if self.is_init or not self.init_cfg:
            super().init_weights()
            return
        init_cfg = self.init_cfg
        cfgs = init_cfg if isinstance(init_cfg, list) else [init_cfg]
        pretrained = [cfg for cfg in cfgs if type_name(cfg) in ('Pretrained', 'PretrainedInit')]
        self.init_cfg = [cfg for cfg in cfgs if cfg not in pretrained]
        super().init_weights()
        self.init_cfg = init_cfg
        for cfg in pretrained:
            if cfg['checkpoint'] is not None:
                load_pretrained(self, cfg['checkpoint'], cfg.get('weights'), cfg.get('prefix'))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        state = below(prefix, state_dict)
        if state and not prefix:
            tree = WeightTree(state)
            state = tree.below(find_module(tree, self, prefer=('ema', 'model'), ask=_ASK_INIT_CFG))
        if state:
            state = adapt(state, self)
        for key in [key for key in state_dict if key.startswith(prefix)]:
            del state_dict[key]
        state_dict.update({prefix + key: value for key, value in state.items()})
        super()._load_from_state_dict(state_dict, prefix, *args)


def find_module(
    tree: WeightTree,
    module: nn.Module,
    weights: str | None = None,
    prefer: Sequence[str] = (),
    ask: str | None = None,
) -> str:
    """Where in a file a module's weights lie.

    Args:
        tree: of the file.
        module: a model or a part of one.
        weights: see `WeightTree.choose`, as ``prefer`` and ``ask``.
        prefer: see there.
        ask: see there; by default how to get a file that holds one model.

    Returns:
        The place with most of the module's tensors; for a FAN backbone, of the FANs in the file.

    Raises:
        InputError: none of the wanted kind, or several that fit and nothing says which.
    """
    wanted = _wanted(module)
    tree.unwrap_parts(wanted)
    found = tree.scores(wanted)
    scores: Mapping[str, int | tuple[int, int]]
    if isinstance(module, CheckpointedBackbone) and (fans := fan_places(tree)):
        scores = {place: found.get(place, (0, 0)) for place in fans}
    else:
        size = len(module.state_dict())
        scores = {
            place: (shaped, named)
            for place, (shaped, named) in found.items()
            if 2 * named >= min(size, len(tree.below(place)))  # a few names in common prove nothing
        } or tree.largest()
    if ask is None:
        inside = fans_inside(module).values()
        released = [fan.anatomy.arch is not None for fan in inside]  # what the converter takes
        ask = ASK_CONVERTER if released and all(released) else SAVE_ALONE
    return tree.choose(scores, weights, prefer, ask)


def fans_inside(module: nn.Module) -> dict[str, CheckpointedBackbone]:
    """The FAN backbones of a model, by the prefixes of their tensors' names."""
    return {
        f'{path}.' if path else '': part
        for path, part in module.named_modules()
        if isinstance(part, CheckpointedBackbone)
    }


def _wanted(module: nn.Module) -> dict[str, Size]:
    """Shapes of a module's tensors by their names; of FANs inside by the official ones, too."""
    wanted = {name: value.shape for name, value in module.state_dict().items()}
    for prefix, fan in fans_inside(module).items():
        for name, value in fan.state_dict().items():
            wanted[prefix + to_official(name)] = value.shape
    return wanted


def load_pretrained(
    backbone: CheckpointedBackbone,
    checkpoint: str | os.PathLike,
    weights: str | None = None,
    prefix: str | None = None,
    ask: str | None = _ASK_INIT_CFG,
) -> set[str]:
    """Load a released or own checkpoint into a backbone, with every key accounted for.

    Classifier heads and layers that the backbone does not have (class attention and final norm in
    dense use) are left out; detection's own layers (``learnable_downsample``, ``out_norm``) keep
    their fresh values when the file has none. One log line says both.

    Args:
        backbone: FANViT, FANHybrid, FANSwin or FANConvNeXt.
        checkpoint: path, or http(s) address.
        weights: 'ema', 'model' or None (EMA weights where the file has them).
        prefix: the part of the file to read, such as ``student``; by default the FAN is searched for.
        ask: how to say which of several; see `find_module`.

    Returns:
        The names of the backbone's tensors that were loaded.

    Raises:
        InputError: the file cannot be read safely, fits no FAN or another size, lacks weights, or
            holds several FANs that fit.
    """
    content = read_torch_file(checkpoint)
    with about(checkpoint):
        tree = WeightTree(content, prefix)
        place = find_module(tree, backbone, weights, ('ema', 'model'), ask)
        state = tree.below(place)
        ours = fit(state, backbone)
        check_values(ours, backbone.state_dict())
    backbone.load_state_dict(ours, strict=False)
    report = f'{checkpoint}: loaded {len(ours)} tensors'
    if place and not 'state_dict.'.startswith(place):
        report += f' from below {place.removesuffix(".")}'
    left_out = {key.partition('.')[0] for key in translate(state).keys() - ours.keys()}
    fresh = {
        'token_pooling' if '.token_pooling.' in key else key.partition('.')[0]
        for key in backbone.state_dict().keys() - ours.keys()
    }
    if left_out:
        report += f'; not needed: {", ".join(sorted(left_out))}'
    if fresh:
        report += f'; not in the file, newly initialised: {", ".join(sorted(fresh))}'
    print_log(report, logger='current')
    return set(ours)


def fit(state: Mapping[str, Tensor], backbone: CheckpointedBackbone) -> dict[str, Tensor]:
    """The part of a state dict that a backbone needs, under our names and complete.

    Args:
        state: of the backbone or a classifier, without prefix, official or our names.
        backbone: what it is for.

    Raises:
        InputError: it is another network's or another size's, keys are missing or unknown, or
            shapes differ.
    """
    state, own = adapt(state, backbone), backbone.state_dict()
    unknown = [key for key in state if key not in own]
    missing = [key for key in _missing(own, state) if not key.endswith('num_batches_tracked')]
    unequal = [
        f'{key} is {tuple(value.shape)}, not {tuple(own[key].shape)}'
        for key, value in state.items()
        if key in own and value.shape != own[key].shape
    ]
    for problem, keys in (('lacks', missing), ('has unknown', unknown), ('does not fit:', unequal)):
        if keys:
            raise InputError(f'the checkpoint {problem} {few_and_more(keys)}')
    return state


def adapt(state: Mapping[str, Tensor], backbone: CheckpointedBackbone) -> dict[str, Tensor]:
    """Rename to our names, and leave out the parts that the backbone does without.

    Raises:
        InputError: it is another network's, or another size's.
    """
    own = backbone.state_dict()
    ours = translate(state)
    if 'norm.weight' in own:
        ours = with_final_norm(ours)
    found = Anatomy.of(ours)
    shared = len(ours.keys() & own.keys())  # one name in common proves nothing
    if found is None and (other_network(state) or 2 * shared < min(len(ours), len(own))):
        raise InputError(f'the checkpoint does not match any FAN: it {describe(state)}')
    anatomy = backbone.anatomy
    if found is not None and ours.keys() <= own.keys() and not _missing(own, ours):
        # all it has, which may be no more than the stages up to its last output
        found = dataclasses.replace(found, depths=anatomy.depths)
    if found is not None and found.token_pooling is None:
        found = dataclasses.replace(found, token_pooling=anatomy.token_pooling)  # newly initialised
    if found is not None and found != anatomy:
        pooled = dataclasses.replace(anatomy, token_pooling=found.token_pooling)
        hint = f': set token_pooling={found.token_pooling}' if found == pooled else ''
        raise InputError(f'the checkpoint is a {found}, but the model is a {anatomy}{hint}')
    parts = {_part(key) for key in own}
    return {
        key: value
        for key, value in ours.items()
        if key in own or (_part(key) in parts and not key.endswith(DERIVED))
    }


def _part(key: str) -> str:
    match = _PART.match(key)
    return match[0] if match else key


def _missing(own: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> list[str]:
    """Required tensors that a file lacks: layers that dense use adds, and token pooling, may be new."""
    pooled = any('.token_pooling.' in key for key in ours)
    return [
        key
        for key in own
        if key not in ours
        and not _ADDED_FOR_DENSE.match(key)
        and (pooled or '.token_pooling.' not in key)
    ]
