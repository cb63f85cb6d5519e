"""Turning a released file into a checkpoint in OpenMMLab's layout, every key accounted for.

Backbones load official files directly (`fan_mm.models.checkpoints`); whole models cannot, because
their heads are those of mmpretrain, mmseg and mmdet.
"""

import dataclasses
import os
import re
from collections.abc import Mapping

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from fan_mm.errors import InputError, about
from fan_mm.fileio import whole_file
from fan_mm.models.backbones import FANSwin
from fan_mm.models.checkpoints import (
    DERIVED,
    Anatomy,
    CheckpointedBackbone,
    check_values,
    describe,
    find_fan,
    find_module,
    fit,
    model_around,
    translate,
    with_final_norm,
)
from fan_mm.models.shapes_alone import shapes_alone
from fan_mm.models.weight_tree import KINDS, WeightTree, below
from fan_mm.torch_files import local_file, read_torch_file

_BATCH_NORM_EPS = 1e-5
_CLASSIFIERS = ('head.', 'aux_head.')
_DETECTOR_PARTS = ('neck.', 'rpn_head.', 'roi_head.')
_MMDET_1_PARTS = ('bbox_head.', 'mask_head.')


@dataclasses.dataclass
class Conversion:
    """A converted checkpoint, and how every key of its source was used.

    Attributes:
        state_dict: in the layout of mmpretrain's ImageClassifier, mmseg's EncoderDecoder or an
            mmdet detector.
        backbone: the backbone's config.
        names: for every key of the source, the keys made from it; empty if it was left out.
        remarks: settings that a config must contain to use the checkpoint, one per line.
        part: the part of the source that was converted, such as 'state_dict_ema'; '' for all of it.
    """

    state_dict: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    backbone: dict = dataclasses.field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    remarks: list[str] = dataclasses.field(default_factory=list)
    part: str = ''

    def summary(self) -> list[str]:
        """What was done, in a few lines."""
        left_out = [key for key, made in self.names.items() if not made]
        renamed = sum(made != () and made != (key,) for key, made in self.names.items())
        lines = [
            f'{len(self.names)} keys read{self.part and f" from below {self.part}"}: {renamed} renamed, '
            f'{len(self.names) - renamed - len(left_out)} kept, {len(left_out)} left out; '
            f'{len(self.state_dict)} written'
        ]
        if left_out:
            kinds = dict.fromkeys(re.sub(r'\.\d+\.', '.*.', key) for key in left_out)
            lines.append(
                f'left out, because they follow from the config or are never used: {", ".join(kinds)}'
            )
        options = ', '.join(f'{key}={value!r}' for key, value in self.backbone.items())
        return [*lines, f'backbone: {options}', *self.remarks]

    def add(self, source: str, **made: Tensor) -> None:
        """Record what was made from a key of the source."""
        self.names[source] = tuple(made)
        self.state_dict.update(made)


def convert(
    checkpoint: object, weights: str | None = None, prefix: str | None = None
) -> Conversion:
    """Convert a released backbone, classifier, segmentor or detector.

    Of NVIDIA TAO's models other than classifiers, only the backbone is converted, because their heads
    come from other toolkits.

    Args:
        checkpoint: the loaded content of the file.
        weights: 'ema', 'model' or None (EMA weights if the file has them).
        prefix: the part of the file to convert, such as ``student``; by default the FAN is located automatically.

    Raises:
        InputError: it holds no FAN of a released size, or several; or keys are missing or unknown.
    """
    tree = WeightTree(checkpoint, prefix)
    assert isinstance(checkpoint, Mapping)  # a WeightTree could be built from it
    root = model_around(tree, find_fan(tree, weights, KINDS))
    state = tree.below(root)
    before = 'backbone.' if below('backbone.', state) else ''
    backbone = {
        key: value
        for key, value in below(before, state).items()
        if before or not key.startswith(_CLASSIFIERS)
    }
    heads = {key: value for key, value in state.items() if key.removeprefix(before) not in backbone}

    config = _backbone_config(backbone, bool(heads))
    conversion = Conversion(backbone=config, part=root.removesuffix('.'))
    names = _names(backbone, conversion.backbone)
    for key, value in backbone.items():
        made = translate({names[key]: value}) if key in names else {}
        conversion.add(before + key, **{f'backbone.{name}': part for name, part in made.items()})
    toolkit = checkpoint.get('tao_model')
    beside = [path for path in tree.tensors if not path.startswith(root)]
    if toolkit and (beside or not all(key.startswith(_CLASSIFIERS) for key in heads)):
        for key in (*heads, *beside):
            conversion.add(key)
        conversion.remarks.append(f'a model of TAO {toolkit}: only its backbone is converted')
    elif 'decode_head.linear_fuse.conv.weight' in heads:
        _convert_segformer_head(heads, conversion)
    elif any(key.startswith(_DETECTOR_PARTS) for key in heads):
        _keep_detector_parts(heads, conversion)
    else:
        _convert_other_heads(heads, conversion)
    return conversion


def classifier_state(
    content: object, weights: str | None, model: nn.Module | None = None
) -> tuple[dict[str, Tensor], str]:
    """The averaged or the plain weights of a classifier under mmpretrain's names.

    Args:
        content: the loaded file: a training checkpoint of ours or of mmpretrain (with an EMAHook,
            ``state_dict`` holds the averaged weights and ``ema_state_dict`` the plain ones), a
            released file, or one with only one kind of weights.
        weights: 'ema', 'model', or None for those in ``state_dict``, which all tools test.
        model: the model to load; None for any classifier with a FAN backbone.

    Returns:
        The weights and their kind, which is the other one if the file lacks the wanted kind.

    Raises:
        InputError: there are no weights, or they are not those of a classifier.
    """
    order = sorted(KINDS, key=weights.__ne__) if weights else ()
    tree = WeightTree(content)
    fan = model is None or isinstance(getattr(model, 'backbone', None), CheckpointedBackbone)
    if model is None or fan:
        place = find_fan(tree, prefer=order)
    else:
        place = find_module(tree, model, prefer=order)
    state = tree.below(model_around(tree, place) if fan else place)
    if fan and not below('backbone.', state):
        state = convert(content, tree.kind(place)).state_dict
    return state, tree.kind(place)


def _names(state: Mapping[str, Tensor], config: Mapping) -> dict[str, str]:
    """The name of every key that a backbone of this config takes."""
    kept = {key: key for key in state if not key.endswith(DERIVED)}
    if 'out_type' not in config:
        return kept
    renamed = with_final_norm(kept)  # maps new names to old ones
    return {old: new for new, old in renamed.items() if not re.match(r'norm\d\.', new)}


def _backbone_config(state: Mapping[str, Tensor], heads: bool) -> dict:
    """The config that loads all of a backbone's weights, checked by building it."""
    ours = translate(state)
    anatomy = Anatomy.of(ours)
    if anatomy is None:
        raise InputError(f'the checkpoint does not match any FAN: it {describe(state)}')
    arch = anatomy.arch
    if arch is None or anatomy.family == 'FANConvNeXt':
        raise InputError(f'the checkpoint is a {anatomy}, but only released sizes can be converted')
    config: dict = dict(type=anatomy.family, arch=arch)
    classifier = 'norm.weight' in (with_final_norm(ours) if heads else ours)
    if anatomy.family == 'FANSwin':
        config |= dict(out_type='avg_featmap') if classifier else dict(out_indices=(0, 1, 2, 3))
        if anatomy.channel_heads != FANSwin.arch_zoo[arch]['num_heads'][0]:
            config |= dict(
                channel_heads=anatomy.channel_heads, mlp_identity=True, always_shift=True
            )
    else:
        if anatomy.channel_attention != 'eca':
            config |= dict(channel_attention=anatomy.channel_attention)
        if anatomy.token_pooling:
            config |= dict(token_pooling=anatomy.token_pooling)
        if classifier:
            config |= dict(out_type='cls_token')
        elif anatomy.family == 'FANHybrid':
            config |= dict(out_indices=(0, 1, 2, 3), paired_frequencies=False)
        else:
            last = anatomy.depths[-1]  # spec 7.3 gives the taps for the registered size only
            config |= dict(out_indices=(4, 7, 11, last), paired_frequencies=False)
        if 'learnable_downsample.weight' in ours:
            config |= dict(last_stage_channels=len(ours['learnable_downsample.weight']))
        if 'out_norm0.weight' in ours:
            config |= dict(out_norm=True)
    with shapes_alone():
        backbone = MODELS.build(config)
    missing = backbone.state_dict().keys() - fit(state, backbone).keys()
    if missing:
        raise InputError(f'the checkpoint lacks {", ".join(sorted(missing)[:3])}')
    return config


def _convert_segformer_head(heads: Mapping[str, Tensor], conversion: Conversion) -> None:
    """Official SegFormer head (spec 7.4) to mmseg's ``SegformerHead(act_cfg=None)``.

    mmseg has a batch norm after each of the four projections; the official head has none. The norm
    gets the projection's bias and otherwise values that make it an identity in evaluation. (Further
    training would normalise the projections, as mmseg trains this head.)
    """
    head = 'decode_head'
    for key, value in heads.items():
        name = key.removeprefix(f'{head}.')
        part, _, rest = name.partition('.')
        if part in ('linear_c1', 'linear_c2', 'linear_c3', 'linear_c4'):
            conv = f'{head}.convs.{int(part[-1]) - 1}'
            if rest == 'proj.weight':
                one = value.new_ones(len(value))
                made = {
                    f'{conv}.conv.weight': value[:, :, None, None],
                    f'{conv}.bn.weight': one,
                    f'{conv}.bn.running_mean': 0 * one,
                    f'{conv}.bn.running_var': one - _BATCH_NORM_EPS,
                    f'{conv}.bn.num_batches_tracked': torch.tensor(0),
                }
            elif rest == 'proj.bias':
                made = {f'{conv}.bn.bias': value}
            else:
                raise InputError(f'the checkpoint has unknown {key}')
        elif name == 'linear_fuse.conv.weight':  # official input order is c4..c1, mmseg's is c1..c4
            made = {f'{head}.fusion_conv.conv.weight': torch.cat(value.chunk(4, 1)[::-1], 1)}
        elif part == 'linear_fuse':
            made = {f'{head}.fusion_conv.{rest}': value}
        elif part == 'linear_pred':
            made = {f'{head}.conv_seg.{rest}': value}
        elif part == 'conv_seg':  # the official head inherits it and never uses it
            made = {}
        else:
            raise InputError(f'the checkpoint has unknown {key}')
        conversion.add(key, **made)
    channels = [len(heads[f'{head}.linear_c{i}.proj.weight'][0]) for i in (1, 2, 3, 4)]
    classes, width = heads[f'{head}.linear_pred.weight'].shape[:2]
    conversion.remarks.append(
        f"decode_head: type='SegformerHead', in_channels={channels}, channels={width}, "
        f'num_classes={classes}, act_cfg=None, with BN or SyncBN; the same logits in evaluation'
    )


def _convert_other_heads(heads: Mapping[str, Tensor], conversion: Conversion) -> None:
    """Classifier heads get mmpretrain's names; heads of mm models have theirs already."""
    for key, value in heads.items():
        name = re.sub(r'^head\.(weight|bias)$', r'head.fc.\1', key)
        name = re.sub(r'^aux_head\.(weight|bias)$', r'head.token_fc.\1', name)
        conversion.add(key, **{name: value})
    if 'head.weight' in heads:
        classes, width = heads['head.weight'].shape
        conversion.remarks.append(f'head: num_classes={classes}, in_channels={width}')
    if 'aux_head.weight' in heads:
        conversion.remarks.append("head.token_fc: STL's classifier of the patch tokens")
    parts = {key.partition('.')[0] for key in heads} - {'head', 'aux_head'}
    if parts:
        conversion.remarks.append(f'kept unchanged: {", ".join(sorted(parts))}')


def _keep_detector_parts(heads: Mapping[str, Tensor], conversion: Conversion) -> None:
    """Pyramid and heads of an official two-stage detector (spec 8.3): mmdet 2's names are mmdet 3's.

    Raises:
        InputError: the parts are those of mmdet 1 or of another detector, or the pyramid fits another
            backbone.
    """
    for key, value in heads.items():
        if key.startswith(_MMDET_1_PARTS):
            raise InputError(
                f'the checkpoint has {key}, a name of mmdet 1, where class 0 is the background: '
                "first run mmdet's tools/model_converters/upgrade_model_version.py"
            )
        if not key.startswith(_DETECTOR_PARTS):
            raise InputError(f'the checkpoint has unknown {key}')
        conversion.add(key, **{key: value})
    inputs = {
        int(key.split('.')[2]): value.shape[1]
        for key, value in heads.items()
        if re.fullmatch(r'neck\.lateral_convs\.\d+\.conv\.weight', key)
    }
    if inputs:
        channels = [width for _, width in sorted(inputs.items())]
        with shapes_alone():
            given = list(MODELS.build(conversion.backbone).out_channels)
        if channels != given:
            raise InputError(
                f'the pyramid expects {channels} channels, but the backbone has {given}'
            )
        conversion.remarks.append(f"neck: type='FPN', in_channels={channels}")
    classifiers = [k for k in heads if re.search(r'bbox_head\.(\d+\.)?fc_cls\.weight$', k)]
    masks = any(key.startswith('roi_head.mask_head.') for key in heads)
    if classifiers:
        kind = 'Cascade R-CNN' if len(classifiers) > 1 else 'R-CNN'
        conversion.remarks.append(
            f'roi_head: {kind} with {len(classifiers)} box heads, '
            f'num_classes={len(heads[classifiers[0]]) - 1}, {"masks" if masks else "no masks"}'
        )


def convert_file(
    source: str | os.PathLike,
    target: str | os.PathLike,
    weights: str | None = None,
    prefix: str | None = None,
) -> Conversion:
    """Convert a file or address; the target appears whole or not at all.

    Args:
        source: path or http(s) URL of the released checkpoint.
        target: file to write, ``dict(state_dict, meta)``.
        weights: see `convert`.
        prefix: see `convert`.

    Raises:
        InputError: as `convert`, with the source's name; the source cannot be read safely; or the
            target is a folder or the source itself.
    """
    if os.path.isdir(target):
        raise InputError(f'{target} is a folder: give a file name')
    read = local_file(source)
    if os.path.exists(read) and os.path.exists(target) and os.path.samefile(read, target):
        raise InputError(f'{target} is the source file: give another file name')
    checkpoint = read_torch_file(source)
    with about(source):
        conversion = convert(checkpoint, weights, prefix)
        check_values(conversion.state_dict, conversion.state_dict)
    meta = dict(converted_from=os.path.basename(source), backbone=conversion.backbone)
    old = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    if all(made in ((), (key,)) for key, made in conversion.names.items()):
        # Already in our names: trained with fan_mm, possibly with other options, or converted before.
        meta['backbone'] = old.get('backbone') if isinstance(old, Mapping) else None
    if isinstance(old, Mapping) and 'CLASSES' in old:  # mmseg before 1.0, mmdet before 3.0
        names = dict(classes=old['CLASSES'], palette=old.get('PALETTE'))
        meta['dataset_meta'] = {key: value for key, value in names.items() if value is not None}
    # Pass an open file: for a folder it cannot write, torch.save raises something other than OSError.
    with whole_file(target) as aside, open(aside, 'wb') as file:
        torch.save(dict(state_dict=conversion.state_dict, meta=meta), file)
    return conversion
