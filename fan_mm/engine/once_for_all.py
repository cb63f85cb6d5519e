"""What one process does for all, or one on each machine: the others wait to learn how it ended."""

import os
import socket
from collections.abc import Callable
from typing import Any

import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import all_gather_object, broadcast_object_list, get_dist_info, init_dist
from mmengine.utils.dl_utils import set_multi_processing

from fan_mm.errors import InputError
from fan_mm.meeting import wait_for_all


def join_group(cfg: Config, launcher: str) -> None:
    """Form the process group that mmengine's Runner would form, if there is none yet.

    Raises:
        InputError: a process has ended instead of joining.
    """
    if dist.is_initialized():
        return
    wait_for_all()
    environment = cfg.get('env_cfg') or {}
    set_multi_processing(**(environment.get('mp_cfg') or {}), distributed=True)
    init_dist(launcher, **(environment.get('dist_cfg') or {}))


def by_one_of_each_machine(check: Callable[[], list[str]], local_rank: int) -> list[str]:
    """Run a check in the first process of each machine: data may lie on its own disk.

    Returns:
        The distinct lines that the check returned on all machines.

    Raises:
        InputError: in every process, if the check raises it in one; no process is left waiting.
        Exception: any other exception of the check, in its own process.
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
    here = socket.gethostname()
    outcomes = all_gather_object((lines, said, here))
    if failure is not None:
        raise failure
    for _, complaint, host in outcomes:
        if complaint is not None:
            raise InputError(complaint if host == here else f'on {host}: {complaint}')
    return list(dict.fromkeys(line for found, _, _ in outcomes for line in found))


def by_rank_0(function: Callable[[], Any], place: str | os.PathLike = '') -> Any:
    """Call a function on rank 0 alone.

    Args:
        function: its return value must be picklable.
        place: path to name in the message of an OSError without one.

    Returns:
        Its return value, on every rank.

    Raises:
        InputError: on every rank, if it raised one or an OSError.
        Exception: any other exception, on rank 0, and InputError on the others; no process is left waiting.
    """
    outcome: list[Any] = [None, None]
    failure: Exception | None = None
    if get_dist_info()[0] == 0:
        try:
            outcome[0] = function()
        except InputError as error:  # with its cause
            failure = error
            outcome[1] = str(error)
        except OSError as error:
            outcome[1] = f'{error.filename or place}: {error.strerror or error}'
        except Exception as error:
            failure = error
            outcome[1] = f'rank 0 failed: {type(error).__name__}: {error}'
    broadcast_object_list(outcome)
    if failure is not None:
        raise failure
    if outcome[1] is not None:
        raise InputError(outcome[1])
    return outcome[0]
