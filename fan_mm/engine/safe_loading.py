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

    From then on, local checkpoints, including those for ``Runner.resume``, are read by `read_torch_file`,
    which is registered as a loader in mmengine. All others (URLs) are read in torch's safe mode;
    onedl-mmengine would otherwise fall back to the unsafe mode.
    """
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)


def load_from_local(filename: str, map_location: object = None) -> object:
    """Read onto the CPU whatever the ``map_location``: loading a state dict moves it anyway.

    mmengine loads the content of ``state_dict``, or the whole file, and removes no prefix but ``module.``.
    Weights in another dict are therefore moved there, and the prefixes of torch.compile and DDP are removed.

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
    # Beside it there is another model, not just a counter.
    if not usual and len(state) < 0.9 * len(tree.tensors):
        return content
    return {**content, 'state_dict': {_WRAPPERS.sub('', name): v for name, v in state.items()}}
