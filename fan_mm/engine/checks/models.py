"""Checks whether a FAN fits into a third-party model: its options, and the channels that neck and heads expect."""

import difflib
import inspect
from collections.abc import Iterator
from typing import Any

from mmengine.registry import MODELS

from fan_mm.config_parts import type_name
from fan_mm.engine.config.registered import inherits, registered
from fan_mm.errors import InputError
from fan_mm.models.shapes_alone import shapes_alone

_HEADS = ('decode_head', 'auxiliary_head', 'head')
_NECKS_OF_ALL_OUTPUTS = ('FPN', 'PAFPN', 'ChannelMapper', 'SimpleFeaturePyramid')


def check_model(model: dict) -> None:
    """Build the model's FAN backbone and compare its outputs with what neck and heads expect.

    Of models with another backbone, only unregistered names are reported.

    Raises:
        InputError: the backbone's options, channels that do not fit, maps for a head of vectors; test-time
            augmentation that merges them wrongly.
    """
    if 'module' in model:  # test-time augmentation wraps the model
        _check_merging(model)
        model = model['module']
    for key in ('neck', *_HEADS):
        for place, part in parts_of(model, key):
            registered(MODELS, place, part)
    backbone = model.get('backbone')
    if not isinstance(backbone, dict):
        return
    cls = registered(MODELS, 'model.backbone', backbone)
    if not cls.__module__.startswith('fan_mm.'):
        return
    if model.get('pretrained'):
        raise InputError(
            f'model.pretrained ({model["pretrained"]}) is for another backbone: set '
            'model.pretrained=None, and model.backbone.init_cfg for the weights of this backbone'
        )
    _check_arguments(cls, backbone)
    with shapes_alone():
        built = MODELS.build(dict(backbone, init_cfg=None))
    channels = list(built.out_channels)
    name = f'{cls.__name__} ({len(channels)} outputs of {channels} channels)'

    neck = model.get('neck')
    if isinstance(neck, dict) and 'in_channels' in neck:
        _check_neck(neck, channels, name)
        return
    if isinstance(model.get('head'), dict):
        _check_pooling(cls.__name__, built.out_type, neck, model['head'])
    if neck and not type_name(neck).endswith('Pooling'):
        return  # these necks may change the channels
    for key in _HEADS:
        for place, head in parts_of(model, key):
            if 'in_channels' in head:
                several = isinstance(head['in_channels'], list | tuple)
                index = head.get('in_index', list(range(len(channels))) if several else -1)
                _compare(
                    f'{place}.in_channels',
                    head['in_channels'],
                    _select(place, channels, index, name),
                    name,
                )


def _check_merging(wrapped: dict) -> None:
    """Refuse mmseg's merging of a single output, which applies the sigmoid twice."""
    heads = [head for _, head in parts_of(wrapped['module'], 'decode_head')]
    outputs = heads and (heads[-1].get('out_channels') or heads[-1].get('num_classes'))
    cls = registered(MODELS, 'tta_model', wrapped) if outputs == 1 else None
    if inherits(cls, 'SegTTAModel', 'mmseg', 'merge_preds'):
        raise InputError(
            f'tta_model: {type_name(wrapped)} applies the sigmoid of a head with one output twice, so all pixels would '
            'be foreground: test without test-time augmentation'
        )


def parts_of(model: dict, key: str) -> Iterator[tuple[str, dict]]:
    """The configs under a key of a model, which may be one or several, each with its place."""
    parts: Any = model.get(key)
    several = isinstance(parts, list | tuple)
    for index, part in enumerate(parts if several else [parts]):
        if isinstance(part, dict):
            yield f'model.{key}.{index}' if several else f'model.{key}', part


def _check_neck(neck: dict, channels: list[int], name: str) -> None:
    """Compare a neck's input channels with the backbone's outputs, as strictly as the neck is known."""
    expected = neck['in_channels']
    if not isinstance(expected, list | tuple):
        _compare('model.neck.in_channels', expected, channels[-1], name)
    elif type_name(neck) in _NECKS_OF_ALL_OUTPUTS or not set(expected) <= set(channels):
        # Other necks may use only some of the outputs, or in reverse order.
        _compare('model.neck.in_channels', expected, channels, name)


def _check_arguments(cls: type, backbone: dict) -> None:
    """Check that a backbone of ours has every given argument: its classes pass options on."""
    known = set()
    for base in cls.__mro__:
        if base.__module__.startswith('fan_mm.'):
            parameters = list(inspect.signature(base).parameters.values())
            known |= {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
    for name in backbone.keys() - known - {'type'}:
        near = difflib.get_close_matches(name, known, 1)
        hint = f'did you mean {near[0]}?' if near else f'it has {", ".join(sorted(known))}'
        raise InputError(f'model.backbone: {type_name(backbone)} has no argument {name}; {hint}')


def _check_pooling(name: str, out_type: str, neck: dict | None, head: dict) -> None:
    """Check that a classifier's features are pooled to a vector exactly once."""
    pools = type_name(neck).endswith('Pooling')
    if out_type == 'raw' and type_name(head).endswith('ClsHead'):
        raise InputError(
            f'model.head takes one vector per image, but {name} returns all tokens: set '
            "model.backbone.out_type='cls_token' ('avg_featmap' if it has no class token)"
        )
    if out_type == 'featmap' and neck is None:
        raise InputError(
            f'model.head takes one vector per image, but {name} returns maps: set '
            "model.backbone.out_type='cls_token' ('avg_featmap' if it has no class token), or "
            "model.neck=dict(type='GlobalAveragePooling')"
        )
    if out_type != 'featmap' and pools:
        raise InputError(
            f'model.neck pools maps, but {name} returns none with out_type={out_type!r}: set '
            'model.neck=None'
        )


def _select(place: str, channels: list[int], in_index: int | list[int], name: str) -> object:
    """The channels of the outputs that a head takes by its ``in_index``."""
    try:
        if isinstance(in_index, int):
            return channels[in_index]
        return [channels[i] for i in in_index]
    except IndexError:
        raise InputError(f'{place}.in_index is {in_index}, but the backbone is {name}') from None


def _compare(place: str, expected: object, given: object, name: str) -> None:
    expected = list(expected) if isinstance(expected, list | tuple) else expected
    if expected != given:
        raise InputError(f'{place} is {expected}, but must be {given}: the backbone is {name}')
