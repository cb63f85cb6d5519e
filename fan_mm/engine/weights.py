"""Whether a checkpoint is one of the model that it is to be loaded into."""

import re

from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import nn

from fan_mm.errors import InputError


def check_fit(model: nn.Module, checkpoint: object, source: str) -> None:
    """Load a checkpoint's weights, and refuse it if a part of the model stays without.

    mmengine skips what is missing or has another shape with no more than a line in the log, and the
    metrics that follow mean nothing.

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
        first, _, rest = str(error).partition('size mismatch for ')[2].partition(':')
        shapes = re.findall(r'torch\.Size\((\[[\d, ]*\])\)', rest.partition('\n')[0])
        hint = ' instead of '.join(shapes)
        raise InputError(
            f'{source} does not fit the config: the shape of {first} is another ({hint})'
        ) from None
    missing = [name for name in missing if not name.endswith('num_batches_tracked')]
    if missing:
        raise InputError(
            f'{source} does not fit the config: it lacks {len(missing)} of {len(own)} tensors, '
            f'such as {missing[0]}'
        )
