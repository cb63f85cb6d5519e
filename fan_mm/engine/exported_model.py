"""What an exported file says about its model, compared with the model that a config builds."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

# Attributes for BGR to RGB conversion in the preprocessors of mmdet and onedl-mmseg, mmseg 1.2, and mmpretrain.
_SWAPS = ('_channel_conversion', 'channel_conversion', 'to_rgb')


def computing_part(model: nn.Module) -> str | None:
    """Name of the part that makes features, or of another library's network as a whole.

    The latter is for mmpretrain's TimmClassifier and HuggingFaceClassifier: their only part with weights.

    Returns:
        None if a model without backbone does not have exactly one part with weights.
    """
    if getattr(model, 'backbone', None) is not None:
        return 'backbone'
    parts = [
        name for name, part in model.named_children() if next(part.parameters(), None) is not None
    ]
    return parts[0] if len(parts) == 1 else None


def count_parameters(part: nn.Module) -> int:
    """The number of a part's parameters."""
    return sum(parameter.numel() for parameter in part.parameters())


def swaps_colours(preprocessor: Any) -> bool:
    """Whether a data_preprocessor swaps blue and red."""
    return any(getattr(preprocessor, name, False) for name in _SWAPS)


def differences(model: Any, part: nn.Module, told: Mapping[str, Any]) -> str:
    """Where a model differs from what a file says about its network and its input.

    Args:
        model: the model built from the config.
        part: its `computing_part`.
        told: the file's metadata.

    Returns:
        The first difference; '' if there is none.
    """
    for name, value in _settings(getattr(part, 'arch', None)).items():
        exported = _settings(told.get('arch')).get(name, value)
        if exported != value:
            return f'{name} of its {told["backbone"]} is {exported}, the config has {value}'
    count = count_parameters(part)
    if told.get('parameters', count) != count:
        return (
            f"its {told['backbone']} has {told['parameters']:,} parameters, the config's {count:,}"
        )
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


def told_normalisation(content: object) -> Mapping[str, Any]:
    """What an exported file, read as a checkpoint, says of its pixels; nothing of any other checkpoint."""
    if not isinstance(content, Mapping) or 'onnx' not in content:
        return {}
    found: Mapping[str, Any] = content['meta']['export'].get('normalisation') or {}
    return found


def _settings(arch: Any) -> dict[str, Any]:
    """A backbone's arch, a name or settings by their names, as JSON has it."""
    found = json.loads(json.dumps(arch, default=str))
    return found if isinstance(found, dict) else {'arch': found} if isinstance(found, str) else {}
