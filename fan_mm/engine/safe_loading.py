"""mmengine's own loading made safe: no checkpoint is ever executed, on either stack."""

import os
import re
from collections.abc import Mapping

from mmengine.runner import CheckpointLoader

from fan_mm.models.weight_tree import WeightTree
from fan_mm.torch_files import read_torch_file

_WRAPPERS = re.compile(r'^((module|_orig_mod)\.)+')


def use_safe_loading() -> None:
    """Make every later ``torch.load`` of this process safe, mmengine's and its libraries' included.

    Local checkpoints, ``Runner.resume`` included, go through `read_torch_file` from then on, by
    mmengine's own way to register a loader; all others (addresses) through torch's safe mode, which
    onedl-mmengine would otherwise leave after a refusal.
    """
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)


def load_from_local(filename: str, map_location: object = None) -> object:
    """Read onto the CPU whatever the ``map_location``: loading a state dict moves it anyway.

    mmengine loads what lies below ``state_dict``, or all there is, and knows no prefix but ``module.``.
    So weights in another dict are put there, and names lose what torch.compile and DDP put before them.
    """
    content = read_torch_file(filename)
    if not isinstance(content, Mapping):
        return content
    tree = WeightTree(content)
    places = (
        ['state_dict.'] if isinstance(content.get('state_dict'), Mapping) else [*tree.largest()]
    )
    state = tree.below(places[0])
    compiled = any('_orig_mod.' in name for name in state)
    if len(places) > 1 or (places[0] in ('', 'state_dict.') and not compiled):
        return content
    return {**content, 'state_dict': {_WRAPPERS.sub('', name): v for name, v in state.items()}}
