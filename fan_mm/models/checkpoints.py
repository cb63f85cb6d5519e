"""Official FAN checkpoints: their key names, their wrappings, and whether one fits a backbone.

Covers what NVlabs/FAN and NVlabs/STL released or can write: timm training files, bare state dicts,
and whole mmseg/mmdet models (spec sections 3.6, 15, 17).
"""

import dataclasses
import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Size, Tensor, nn

from fan_mm.config_parts import type_name
from fan_mm.errors import InputError
from fan_mm.models.weight_tree import SAVE_ALONE, WeightTree, below
from fan_mm.torch_files import read_torch_file

# Official name, our name; `#` stands for an index. The first row that matches the start of a key
# renames it, and names in no row are the same on both sides.
NAMES = (
    ('blocks.#.attn.', 'blocks.#.token_mixing.'),
    ('blocks.#.dilation_predictor.proj.', 'blocks.#.token_pooling.predictor.'),  # TAPADL's
    ('blocks.#.mlp.mlp_v.', 'blocks.#.channel_attention.mlp.'),
    ('blocks.#.mlp.', 'blocks.#.channel_attention.'),
    ('layers.#.blocks.#.attn.', 'layers.#.blocks.#.token_mixing.'),
    ('layers.#.blocks.#.mlp.mlp_v.', 'layers.#.blocks.#.channel_attention.mlp.'),
    ('layers.#.blocks.#.mlp.norm_v.', 'layers.#.blocks.#.channel_attention.norm_v.'),
    ('layers.#.blocks.#.mlp.q.', 'layers.#.blocks.#.channel_attention.q.'),
    ('layers.#.blocks.#.mlp.temperature', 'layers.#.blocks.#.channel_attention.temperature'),
    ('pos_embeder.', 'pos_embed.'),  # early official files
)

# One key of each family that is in every whole FAN, official and ours.
_SIGNATURES = (
    'patch_embed.backbone.stem.0.weight',
    'patch_embed.proj.0.0.weight',
    'layers.0.blocks.0.mlp.q.weight',
    'layers.0.blocks.0.channel_attention.q.weight',
)
# Parts of a network that a backbone may lack although the file has them, each as a whole: heads,
# and whatever cannot reach the outputs that this backbone was built for (spec 4.2).
_PART = re.compile(
    r'patch_embed\.(backbone\.(stem|stages\.\d+)|proj)|blocks\.\d+(\.downsample)?'
    r'|layers\.\d+\.(blocks\.\d+|downsample)|cls_attn_blocks\.\d+\.\w+|[^.]+'
)
# Official FAN-Swin stores what follows from its window and input size.
DERIVED = ('attn_mask', 'relative_position_index')
# What a file may lack although the backbone has it: layers that dense outputs add (spec 7.5, 8).
_ADDED_FOR_DENSE = re.compile(r'(learnable_downsample|out_norm\d|norm\d)\.')


def _rule(old: str, new: str) -> tuple[re.Pattern, str]:
    indices = iter(range(1, new.count('#') + 1))
    pattern = re.escape(old).replace(r'\#', r'(\d+)')
    return re.compile(pattern), re.sub('#', lambda _: rf'\g<{next(indices)}>', new)


_TO_OURS = tuple(_rule(official, ours) for official, ours in NAMES)
_TO_OFFICIAL = tuple(_rule(ours, official) for official, ours in NAMES[:-1])


def _rename(key: str, rules: Iterable[tuple[re.Pattern, str]]) -> str:
    for pattern, replacement in rules:
        if pattern.match(key):
            return pattern.sub(replacement, key, count=1)
    return key


def to_ours(key: str) -> str:
    """Our name of an official backbone key; our own names come back unchanged."""
    return _rename(key, _TO_OURS)


def to_official(key: str) -> str:
    """The official name of one of our backbone keys."""
    return _rename(key, _TO_OFFICIAL)


def translate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a backbone's official keys to ours and split the early files' fused class attention.

    Args:
        state: a backbone or classifier without prefix; names that are ours already stay.
    """
    ours = {}
    for key, value in state.items():
        fused = re.fullmatch(r'(cls_attn_blocks\.\d+\.attn\.)qkv\.(weight|bias)', key)
        if fused:
            for name, part in zip('qkv', value.chunk(3), strict=True):
                ours[f'{fused[1]}{name}.{fused[2]}'] = part
        else:
            ours[to_ours(key)] = value
    return ours


_T = TypeVar('_T')


def with_final_norm(state: Mapping[str, _T]) -> dict[str, _T]:
    """A classifier's state dict with the last of TAO's ``norm0`` to ``norm3`` (FAN-Swin) as ``norm``."""
    norms = [key for key in state if re.fullmatch(r'norm\d\.weight', key)]
    if not norms or 'norm.weight' in state:
        return dict(state)
    last = max(norms).partition('.')[0]
    return {re.sub(rf'^{last}\.', 'norm.', key): value for key, value in state.items()}


def size_of(arch: Mapping) -> tuple[int, tuple[int, ...]]:
    """`Anatomy.width` and `Anatomy.depths` of a backbone's resolved ``arch``."""
    depths = arch.get('depths') or (*arch.get('stem_depths', ()), arch['depth'])
    return arch['embed_dims'], tuple(depths)


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """What the names and shapes of a FAN backbone's weights tell about it.

    Attributes:
        family: 'FANViT', 'FANHybrid', 'FANSwin' or 'FANConvNeXt'.
        width: channels of the first block.
        depths: number of blocks; of each stage for FANSwin and FANConvNeXt, and with the two
            convolutional stages' first for FANHybrid.
        channel_attention: 'eca', 'se' or 'csa'.
        channel_heads: of the first block; None where the weights do not tell.
        token_pooling: scales of the token-aware average pooling; None without one.
    """

    family: str
    width: int
    depths: tuple[int, ...]
    channel_attention: str = 'eca'
    channel_heads: int | None = None
    token_pooling: int | None = None

    @property
    def arch(self) -> str | None:
        """The name that its size has in the family, as a user writes it for ``arch``."""
        zoo = MODELS.get(self.family).arch_zoo
        size = self.width, self.depths
        return next((name for name, arch in zoo.items() if size_of(arch) == size), None)

    def __str__(self) -> str:
        arch = self.arch or 'of an unreleased size'
        depths = '+'.join(map(str, self.depths))
        heads = f', {self.channel_heads} channel heads' if self.channel_heads else ''
        pooling = f', token pooling of {self.token_pooling} scales' if self.token_pooling else ''
        return (
            f'{self.family} {arch} (width {self.width}, {depths} blocks, '
            f'{self.channel_attention}{heads}{pooling})'
        )

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> 'Anatomy | None':
        """Recognise a whole backbone under our names; None if it is no FAN, or part of one."""

        def count(pattern: str) -> int:
            return sum(re.fullmatch(pattern, key) is not None for key in state)

        def counts(stages: str) -> tuple[int, ...]:
            numbers = (count(stages.format(i)) for i in itertools.count())
            return tuple(itertools.takewhile(bool, numbers))

        block = 'blocks.0'
        if 'patch_embed.backbone.stem.0.weight' in state:
            family = 'FANHybrid'
            stages = counts(r'patch_embed\.backbone\.stages\.{}\.blocks\.\d+\.gamma')
            depths = *stages, count(r'blocks\.\d+\.gamma1')
        elif 'patch_embed.proj.0.0.weight' in state:
            family, depths = 'FANViT', (count(r'blocks\.\d+\.gamma1'),)
        elif 'layers.0.blocks.0.channel_attention.q.weight' in state:
            block = 'layers.0.blocks.0'
            swin = f'{block}.norm1.weight' in state
            family, norm = ('FANSwin', 'norm1') if swin else ('FANConvNeXt', 'norm')
            depths = counts(rf'layers\.{{}}\.blocks\.\d+\.{norm}\.weight')
        else:
            return None
        mixing = 'conv_dw' if family == 'FANConvNeXt' else 'token_mixing.proj'
        if f'{block}.{mixing}.weight' not in state:
            return None
        attention = f'{block}.channel_attention'
        temperature = state.get(f'{attention}.temperature')
        scales = state.get(f'{block}.token_pooling.predictor.1.weight')
        return cls(
            family=family,
            width=len(state[f'{block}.{mixing}.weight']),
            depths=depths,
            channel_attention='se'
            if f'{attention}.se.conv_reduce.weight' in state
            else 'csa'
            if f'{attention}.k.weight' in state
            else 'eca',
            channel_heads=None if temperature is None else len(temperature),
            token_pooling=None if scales is None else len(scales),
        )


# One key of each that a network of another family has, in the names of its usual files.
_OTHERS = (
    (r'layer1\.0\.conv1\.weight', 'a ResNet'),
    (r'(blocks\.0\.local_mp|xca_layers\.0)\.', 'an XCiT'),
    (r'layers\.0\.blocks\.0\.attn\.relative_position_bias_table', 'a Swin Transformer'),
    (r'stages\.0\.blocks\.0\.attn\.w_msa\.', 'a Swin Transformer'),
    (r'features\.1\.0\.attn\.relative_position_index', 'a Swin Transformer'),
    (r'(blocks|layers)\.0\.attn\.qkv\.weight', 'a plain ViT'),
    (r'encoder\.layers\.encoder_layer_0\.self_attention\.', 'a plain ViT'),
    (r'(downsample_layers\.0\.0|stages\.0\.(blocks\.)?0\.(conv_dw|dwconv))\.', 'a ConvNeXt'),
    (r'features\.1\.0\.layer_scale', 'a ConvNeXt'),
    (r'network\.0\.0\.(layer_scale_1|norm1\.)', 'a PoolFormer'),
    (r'(patch_embed1\.proj|block1\.0\.attn\.q|layers\.0\.1\.0\.attn)\.', 'a MiT (SegFormer)'),
)


def describe(state: Mapping[str, Tensor]) -> str:
    """What a foreign state dict looks like, for an error's line."""
    other = _other_network(state)
    if other is not None:
        return f'looks like {other}'
    return f'has {len(state)} tensors named {", ".join(list(state)[:3])}, ...'


def _other_network(state: Mapping[str, Tensor]) -> str | None:
    for pattern, name in _OTHERS:
        if any(re.match(pattern, key) for key in state):
            return name
    return None


def fan_places(tree: WeightTree) -> list[str]:
    """Where in a file whole FAN backbones lie."""
    places = {
        path.removesuffix(key): None
        for key in _SIGNATURES
        for path in tree.tensors
        if path == key or path.endswith(f'.{key}')
    }
    return [place for place in places if Anatomy.of(translate(tree.below(place)))]


def unwrap(
    checkpoint: object, weights: str | None = None, prefix: str | None = None
) -> dict[str, Tensor]:
    """Find the model with a FAN backbone in a checkpoint, under whatever containers and prefixes.

    Args:
        checkpoint: what the file holds.
        weights: 'ema' or 'model' to insist on one kind; None prefers EMA weights where they are
            (the official results are theirs).
        prefix: the part of the file to look into; None for all of it.

    Returns:
        Key to tensor: of a backbone or classifier as the official files name them, or of a whole
        model with ``backbone.`` among them. Of a file without a FAN all of the wanted kind.

    Raises:
        InputError: there are no weights, or none of the wanted kind, or two models.
    """
    tree = WeightTree(checkpoint, prefix)
    return tree.below(model_around(tree, find_fan(tree, weights, ('ema', 'model'))))


def find_fan(tree: WeightTree, weights: str | None = None, prefer: Sequence[str] = ()) -> str:
    """Where in a file its FAN lies, or, without one, the most of its tensors.

    Args:
        tree: of the file.
        weights: see `WeightTree.choose`, as ``prefer``.
        prefer: see there.

    Raises:
        InputError: none of the wanted kind, or several and nothing says which.
    """
    tree.unwrap_parts()
    scores = dict.fromkeys(fan_places(tree), 0) or tree.largest()
    return tree.choose(scores, weights, prefer, _ASK_CONVERTER)


def model_around(tree: WeightTree, place: str) -> str:
    """Where the model lies of which a FAN is the backbone; a classifier with its own head is one."""
    if f'{place}head.weight' in tree.tensors:
        return place
    return re.sub(r'(^|\.)backbone\.$', r'\1', place)


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
            if 2 * named >= min(size, len(tree.below(place)))  # a few names in common happen
        } or tree.largest()
    if ask is None:
        inside = fans_inside(module).values()
        released = [fan.anatomy.arch is not None for fan in inside]  # what the converter takes
        ask = _ASK_CONVERTER if released and all(released) else SAVE_ALONE
    return tree.choose(scores, weights, prefer, ask)


def fans_inside(module: nn.Module) -> dict[str, 'CheckpointedBackbone']:
    """The FAN backbones of a model by what stands in front of their tensors' names."""
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


_ASK_CONVERTER = 'take one out with tools/convert_checkpoint.py --prefix {place}'
_ASK_INIT_CFG = 'say which with init_cfg.prefix={place}'


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
        """What a checkpoint of this architecture looks like."""
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
    shared = len(ours.keys() & own.keys())  # one name in common happens
    if found is None and (_other_network(state) or 2 * shared < min(len(ours), len(own))):
        raise InputError(f'the checkpoint fits no FAN: it {describe(state)}')
    anatomy = backbone.anatomy
    if found is not None and ours.keys() <= own.keys() and not _missing(own, ours):
        # all it has, which may be no more than the stages up to its last output
        found = dataclasses.replace(found, depths=anatomy.depths)
    if found is not None and found.token_pooling is None:
        found = dataclasses.replace(found, token_pooling=anatomy.token_pooling)  # begins anew
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
    """What a file lacks but must have: layers that dense use adds, and token pooling, may be new."""
    pooled = any('.token_pooling.' in key for key in ours)
    return [
        key
        for key in own
        if key not in ours
        and not _ADDED_FOR_DENSE.match(key)
        and (pooled or '.token_pooling.' not in key)
    ]


def load_pretrained(
    backbone: CheckpointedBackbone,
    checkpoint: str | os.PathLike,
    weights: str | None = None,
    prefix: str | None = None,
    ask: str | None = _ASK_INIT_CFG,
) -> set[str]:
    """Load a released or own checkpoint into a backbone, every key accounted for.

    Classifier heads and layers that the backbone does not have (class attention and final norm in
    dense use) are left out; detection's own layers (``learnable_downsample``, ``out_norm``) keep
    their fresh values when the file has none. One log line says both.

    Args:
        backbone: FANViT, FANHybrid, FANSwin or FANConvNeXt.
        checkpoint: path, or http(s) address.
        weights: 'ema', 'model' or None (EMA weights where the file has them).
        prefix: the part of the file to read, such as ``student``; by default the FAN is looked for.
        ask: how to say which of several; see `find_module`.

    Returns:
        The names of the backbone's tensors that were loaded.

    Raises:
        InputError: the file cannot be read safely, fits no FAN or another size, lacks weights, or
            holds several FANs that fit.
    """
    content = read_torch_file(checkpoint)
    try:
        tree = WeightTree(content, prefix)
        place = find_module(tree, backbone, weights, ('ema', 'model'), ask)
        state = tree.below(place)
        ours = fit(state, backbone)
        check_values(ours, backbone.state_dict())
    except InputError as error:
        raise InputError(f'{checkpoint}: {error}') from None
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
        report += f'; not needed here: {", ".join(sorted(left_out))}'
    if fresh:
        report += f'; not in the file, initialised anew: {", ".join(sorted(fresh))}'
    print_log(report, logger='current')
    return set(ours)


def check_values(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse weights that a model would take and compute nonsense with.

    Args:
        state: what is to be loaded.
        own: the state dict of the module that takes it.

    Raises:
        InputError: a tensor that is not finite (masks may hold infinities), or is quantised.
    """
    for name, value in state.items():
        if name not in own:
            continue
        mine = own[name]
        if value.layout is not torch.strided:
            raise InputError(f'{name} is sparse: save the weights as dense tensors')
        if value.is_quantized or (mine.is_floating_point() and not value.is_floating_point()):
            kind = str(value.dtype).removeprefix('torch.')
            raise InputError(f'{name} is quantised ({kind}): save the weights as float')
        if value.is_meta and not mine.is_meta:
            raise InputError(f'{name} has no values (meta device): save the weights themselves')
        if not value.is_meta and 'mask' not in name and not _finite(value):
            raise InputError(
                f'{name} has values that are NaN or infinite, so the weights are useless'
            )


def _finite(value: Tensor) -> bool:
    if not value.is_floating_point() or not value.numel():
        return True
    if value.dtype.itemsize == 1:  # torch knows too little about eight bits
        value = value.float()
    return bool(torch.isfinite(torch.stack(value.aminmax())).all())


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
            more = f' and {len(keys) - 3} more' if len(keys) > 3 else ''
            raise InputError(f'the checkpoint {problem} {", ".join(keys[:3])}{more}')
    return state


def load_strictly(
    module: nn.Module, state: Mapping[str, Tensor], source: str, given: Iterable[str] = ()
) -> None:
    """Load a state dict, and refuse it if a part of the module stays without.

    mmengine skips what is missing or has another shape with no more than a line in the log. What
    the module has no place for is left out.

    Args:
        module: a model or a part of one.
        state: under the module's names, a FAN inside it under official ones too.
        source: what the error's line begins with: the file, and what it should fit.
        given: names of the module's tensors that have their weights already.

    Raises:
        InputError: the state is another model's, another size's, a part, or no sound weights.
    """
    own = module.state_dict()
    try:
        check_values(in_our_names(module, state), own)
        missing = module.load_state_dict(state, strict=False).missing_keys
    except InputError as error:  # a FAN backbone's own, too
        raise InputError(f'{source}: {error}') from None
    except RuntimeError as error:  # torch's list of shapes, a line each
        _check_names(own, state, source)
        first, _, rest = str(error).partition('size mismatch for ')[2].partition(':')
        if not first:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise InputError(f'{source}: {lines[-1]}') from None
        shapes = re.findall(r'torch\.Size\((\[[\d, ]*\])\)', rest.partition('\n')[0])
        hint = ' instead of '.join(shapes)
        raise InputError(f'{source}: the shape of {first} is another ({hint})') from None
    given = set(given)
    missing = [n for n in missing if n not in given and not n.endswith('num_batches_tracked')]
    if missing:
        part = state.keys() <= own.keys() and 2 * len(missing) > len(own)
        if not part:
            _check_names(own, {*state, *given}, source)
        what = 'it holds a part of the model and lacks' if part else 'it lacks'
        raise InputError(
            f'{source}: {what} {len(missing)} of {len(own)} tensors, such as {missing[0]}'
        )


def in_our_names(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with the names of a module, FANs inside it under ours."""
    named = dict(state)
    for prefix in fans_inside(module):
        for key, value in translate(below(prefix, state)).items():
            named[prefix + key] = value
    return named


def _check_names(own: Mapping, state: Iterable[str], source: str) -> None:
    """Raise InputError if the file has no half of the model's tensors, whatever their shapes."""
    known = {*state, *(to_ours(name.removeprefix('backbone.')) for name in state)}
    found = [name for name in own if name in known or name.removeprefix('backbone.') in known]
    if 2 * len(found) < len(own):
        raise InputError(
            f"{source}: it has {len(found)} of the model's {len(own)} tensors, so it is another "
            "model's file"
        )
