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

# Parts that the file may have and the backbone may lack, each only as a whole: heads, and modules
# that do not affect the outputs that this backbone was built for (spec 4.2).
_PART = re.compile(
    r'patch_embed\.(backbone\.(stem|stages\.\d+)|proj)|blocks\.\d+(\.downsample)?'
    r'|layers\.\d+\.(blocks\.\d+|downsample)|cls_attn_blocks\.\d+\.\w+|[^.]+'
)
# Layers that the backbone may have and the file may lack: those added for dense outputs (spec 7.5, 8).
_ADDED_FOR_DENSE = re.compile(r'(learnable_downsample|out_norm\d|norm\d)\.')
_ASK_INIT_CFG = 'choose one with init_cfg.prefix={place}'


class CheckpointedBackbone(BaseModule):
    """A backbone that reads official checkpoints as they are.

    ``load_state_dict`` accepts official key names and ours, also when the backbone is part of a
    larger model or is loaded by mmengine. Called on the backbone itself, it also accepts wrapped
    checkpoints (`unwrap`) and checkpoints of whole models, of which it reads the part below
    ``backbone.``. ``init_cfg=dict(type='Pretrained', checkpoint=PATH_OR_URL, weights=None,
    prefix=None)`` calls `load_pretrained`; with ``checkpoint=None`` nothing is loaded.
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
        tree: the checkpoint's tensors.
        module: a model or a part of one.
        weights: see `WeightTree.choose`.
        prefer: see `WeightTree.choose`.
        ask: see `WeightTree.choose`; by default, how to get a file that holds one model.

    Returns:
        The prefix with most of the module's tensors; for a FAN backbone, among the FANs in the file.

    Raises:
        InputError: there are no weights of the wanted kind, or several candidates fit equally well.
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
            if 2 * named
            >= min(size, len(tree.below(place)))  # a few names in common are no evidence
        } or tree.largest()
    if ask is None:
        inside = fans_inside(module).values()
        released = [fan.anatomy.arch is not None for fan in inside]  # the converter needs these
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

    Weights of classifier heads and of layers that the backbone does not have (class attention and
    final norm in dense models) are ignored. Layers added for detection (``learnable_downsample``,
    ``out_norm``) keep their initial values if the file lacks them. Both are logged in one line.

    Args:
        backbone: FANViT, FANHybrid, FANSwin or FANConvNeXt.
        checkpoint: path or http(s) URL.
        weights: 'ema', 'model' or None (EMA weights if the file has them).
        prefix: the part of the file to read, such as ``student``; by default the FAN is located automatically.
        ask: advice for the error about several candidates; see `find_module`.

    Returns:
        The names of the backbone's tensors that were loaded.

    Raises:
        InputError: the file cannot be read safely, fits no FAN or only another size, lacks weights,
            or holds several FANs that fit.
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
        state: of a backbone or classifier, without prefix, with official or our names.
        backbone: the backbone to load it into.

    Raises:
        InputError: the state belongs to another network or size, keys are missing or unknown, or
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
        InputError: the state belongs to another network or size.
    """
    own = backbone.state_dict()
    ours = translate(state)
    if 'norm.weight' in own:
        ours = with_final_norm(ours)
    found = Anatomy.of(ours)
    shared = len(ours.keys() & own.keys())  # a single name in common is no evidence
    if found is None and (other_network(state) or 2 * shared < min(len(ours), len(own))):
        raise InputError(f'the checkpoint does not match any FAN: it {describe(state)}')
    anatomy = backbone.anatomy
    if found is not None and ours.keys() <= own.keys() and not _missing(own, ours):
        # The backbone's own depths may end at its last output; the file may have more.
        found = dataclasses.replace(found, depths=anatomy.depths)
    if found is not None and found.token_pooling is None:
        found = dataclasses.replace(found, token_pooling=anatomy.token_pooling)  # not in file
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
