"""mmengine's own loading made safe: no checkpoint is ever executed, on either stack."""

import os

from mmengine.runner import CheckpointLoader

from fan_mm.torch_files import read_torch_file


def use_safe_loading() -> None:
    """Make every later ``torch.load`` of this process safe, mmengine's and its libraries' included.

    Local checkpoints, ``Runner.resume`` included, go through `read_torch_file` from then on, by
    mmengine's own way to register a loader; all others (addresses) through torch's safe mode, which
    onedl-mmengine would otherwise leave after a refusal.
    """
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)


def load_from_local(filename: str, map_location: object = None) -> object:
    """Read onto the CPU whatever the ``map_location``: loading a state dict moves it anyway."""
    return read_torch_file(filename)
