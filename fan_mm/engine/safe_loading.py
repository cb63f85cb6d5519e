"""mmengine's own loading made safe: no checkpoint is ever executed, on either stack."""

import os
import re
from collections.abc import Mapping

from mmengine.runner import CheckpointLoader

from fan_mm.errors import about
from fan_mm.models.weight_tree import WeightTree
from fan_mm.torch_files import read_torch_file

_WRAPPERS = re.compile(r'^((module|_orig_mod)\.)+')


def use_safe_loading() -> None:
    """Make every later ``torch.load`` in this process safe, including those of mmengine and its libraries.

    From then on, local checkpoints, including ``Runner.resume``, are read by `read_torch_file`,
    registered as a loader in mmengine; all others (URLs) are read in torch's safe mode, which
    onedl-mmengine would otherwise leave after a rejection.
    """
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)


def load_from_local(filename: str, map_location: object = None) -> object:
    """Read onto the CPU whatever the ``map_location``: loading a state dict moves it anyway.

    mmengine loads what lies below ``state_dict``, or all there is, and knows no prefix but ``module.``.
    So weights in another dict are put there, and names lose what torch.compile and DDP put before them.

    Raises:
        InputError: the file cannot be read safely, or holds no weights.
    """
    content = read_torch_file(filename)
    if not isinstance(content, Mapping):
        return content
    with about(filename):
        tree = WeightTree(content)
    usual = isinstance(content.get('state_dict'), Mapping)
    place = 'state_dict.' if usual else next(iter(tree.largest()))
    state = tree.below(place)
    if place in ('', 'state_dict.') and not any('_orig_mod.' in name for name in state):
        return content
    if not usual and len(state) < 0.9 * len(
        tree.tensors
    ):  # no counter beside it, but another model
        return content
    return {**content, 'state_dict': {_WRAPPERS.sub('', name): v for name, v in state.items()}}
