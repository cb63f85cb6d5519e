"""What launchers tell their processes, process groups without a GPU, and models in their wrappers.

mmengine's own launchers call CUDA before they do anything else.
"""

import atexit
import datetime
import gc
import os
import subprocess
from typing import Any

import torch.distributed as dist
from mmengine.model import is_model_wrapper

from fan_mm.errors import InputError, first_line
from fan_mm.meeting import wait_for_all

# launcher -> environment variables with rank, world size and local rank
_VARIABLES = {
    'pytorch': ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'),
    'slurm': ('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_LOCAL_RANK'),
}


def rank_of(launcher: str) -> tuple[int, int, int]:
    """Rank, world size and local rank, as the launcher sets them; ``(0, 1, 0)`` for 'none'.

    Raises:
        InputError: this process was not started by that launcher.
    """
    if launcher == 'none':
        return 0, 1, 0
    if launcher not in _VARIABLES:
        raise InputError(
            f"launcher must be 'none' or one of {', '.join(_VARIABLES)}, not {launcher!r}"
        )
    missing = [name for name in _VARIABLES[launcher] if name not in os.environ]
    if missing:
        raise InputError(
            f'--launcher {launcher}, but {missing[0]} is not set: start it with '
            + ('tools/dist_*.sh or torchrun' if launcher == 'pytorch' else 'srun or mpirun')
        )
    for name in _VARIABLES[launcher]:
        if not os.environ[name].isdecimal():
            raise InputError(
                f'--launcher {launcher}, but {name} is {os.environ[name]!r}, not a number'
            )
    rank, world_size, local_rank = (int(os.environ[name]) for name in _VARIABLES[launcher])
    return rank, world_size, local_rank


def export_ranks(launcher: str) -> None:
    """Set torch's environment variables from those of a launcher.

    mmengine selects the GPU of a process by LOCAL_RANK, but does not set it for 'mpi'.

    Raises:
        InputError: not started by that launcher; under 'mpi', several nodes without a meeting point.
    """
    if launcher == 'none':
        return
    rank, world_size, local_rank = rank_of(launcher)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size), LOCAL_RANK=str(local_rank))
    if launcher == 'mpi' and 'MASTER_ADDR' not in os.environ:
        if os.environ.get('OMPI_COMM_WORLD_LOCAL_SIZE', str(world_size)) != str(world_size):
            raise InputError(
                '--launcher mpi on several nodes: give the first one, mpirun -x MASTER_ADDR=HOST'
            )
        os.environ['MASTER_ADDR'] = '127.0.0.1'


def join_gloo_group(launcher: str, timeout: float | None = None) -> None:
    """Join the processes of a launcher into a gloo group, unless there is a group already.

    mmengine's Runner then uses the existing group.

    Args:
        launcher: 'pytorch', 'slurm' or 'mpi'.
        timeout: seconds after which a collective operation fails; None for torch's default.

    Raises:
        InputError: the processes cannot connect: a port is in use, a host is unknown, or one has ended.
    """
    if dist.is_initialized():
        return
    export_ranks(launcher)
    wait_for_all()
    if launcher == 'slurm' and 'MASTER_ADDR' not in os.environ:
        os.environ['MASTER_ADDR'] = _first_node()
    os.environ.setdefault('MASTER_ADDR', '127.0.0.1')
    os.environ.setdefault('MASTER_PORT', '29500')
    try:
        dist.init_process_group(
            'gloo', timeout=None if timeout is None else datetime.timedelta(seconds=timeout)
        )
    except (RuntimeError, ValueError) as error:
        place = f'{os.environ["MASTER_ADDR"]}:{os.environ["MASTER_PORT"]}'
        said = first_line(error)
        raise InputError(
            f'the processes cannot meet at {place} ({said}): set MASTER_ADDR and MASTER_PORT to another address'
        ) from error
    atexit.register(_leave_group)


def _first_node() -> str:
    """The first node of a slurm job, where its processes meet."""
    nodes = os.environ.get('SLURM_NODELIST', '')
    try:
        return subprocess.check_output(['scontrol', 'show', 'hostnames', nodes], text=True).split()[
            0
        ]
    except (OSError, subprocess.CalledProcessError, IndexError) as error:
        raise InputError(
            f'--launcher slurm: scontrol does not list the nodes ({error}): set MASTER_ADDR to the first one'
        ) from error


def unwrapped(model: Any) -> Any:
    """A model without the wrapper for several processes."""
    while is_model_wrapper(model):
        model = model.module
    return model


def _leave_group() -> None:
    """End gloo's threads before Python ends: left running, they can abort a finished process.

    They live as long as any reference to the group, such as a model wrapper in a reference cycle.
    """
    gc.collect()
    if dist.is_initialized():
        dist.destroy_process_group()
