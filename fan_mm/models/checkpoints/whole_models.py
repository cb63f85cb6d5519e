"""Loading whole models strictly: what lacks a part, or has another shape, is refused."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from fan_mm.errors import InputError
from fan_mm.models.checkpoints.backbone import fans_inside
from fan_mm.models.checkpoints.key_names import to_ours, translate
from fan_mm.models.checkpoints.values import check_values
from fan_mm.models.weight_tree import below


def load_strictly(
    module: nn.Module, state: Mapping[str, Tensor], source: str, given: Iterable[str] = ()
) -> None:
    """Load a state dict, and refuse it if a part of the module gets no weights.

    mmengine only logs missing keys and mismatched shapes; here they are errors. Keys that the module
    does not have are ignored.

    Args:
        module: a model or a part of one.
        state: with the module's names; a FAN inside it may also have official names.
        source: start of the error message: the file, and what it should fit.
        given: names of the module's tensors that already have their weights.

    Raises:
        InputError: the state belongs to another model or size, is incomplete, or has invalid values.
    """
    own = module.state_dict()
    try:
        check_values(in_our_names(module, state), own)
        missing = module.load_state_dict(state, strict=False).missing_keys
    except InputError as error:  # also raised by a FAN backbone
        raise InputError(f'{source}: {error}') from None
    except RuntimeError as error:  # torch lists mismatched shapes, one per line
        _check_names(own, state, source)
        first, _, rest = str(error).partition('size mismatch for ')[2].partition(':')
        if not first:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise InputError(f'{source}: {lines[-1]}') from None
        shapes = re.findall(r'torch\.Size\((\[[\d, ]*\])\)', rest.partition('\n')[0])
        hint = ' instead of '.join(shapes)
        raise InputError(f'{source}: the shape of {first} differs ({hint})') from None
    given = set(given)
    missing = [n for n in missing if n not in given and not n.endswith('num_batches_tracked')]
    if missing:
        part = state.keys() <= own.keys() and 2 * len(missing) > len(own)
        if not part:
            _check_names(own, {*state, *given}, source)
        what = 'it contains part of the model and lacks' if part else 'it lacks'
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
            f"{source}: it has {len(found)} of the model's {len(own)} tensors, so it belongs to "
            'another model'
        )
