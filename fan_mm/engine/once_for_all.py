"""What one process of each machine does for all: the others learn how it ended before they go on."""

from collections.abc import Callable

import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import all_gather_object, init_dist
from mmengine.utils.dl_utils import set_multi_processing

from fan_mm.errors import InputError


def join_group(cfg: Config, launcher: str) -> None:
    """Form the process group that mmengine's Runner would form, if there is none yet."""
    if dist.is_initialized():
        return
    environment = cfg.get('env_cfg') or {}
    set_multi_processing(**(environment.get('mp_cfg') or {}), distributed=True)
    init_dist(launcher, **(environment.get('dist_cfg') or {}))


def by_one_of_each_machine(check: Callable[[], list[str]], local_rank: int) -> list[str]:
    """Run a check in the first process of each machine: data may lie on its own disk.

    Args:
        check: gives lines for the log.
        local_rank: of this process on its machine.

    Returns:
        The lines that the check gave, of all machines, each once.

    Raises:
        InputError: in every process, if the check raises it in one; nobody is left to wait.
        Exception: whatever else the check raises, in its own process.
    """
    lines, failure = [], None
    if local_rank == 0:
        try:
            lines = check()
        except Exception as error:
            failure = error
    said = (
        None
        if failure is None
        else f'{"" if isinstance(failure, InputError) else "a check: "}{failure}'
    )
    outcomes = all_gather_object((lines, said))
    if failure is not None:
        raise failure
    for _, complaint in outcomes:
        if complaint is not None:
            raise InputError(complaint)
    return list(dict.fromkeys(line for found, _ in outcomes for line in found))
