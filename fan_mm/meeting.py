"""What processes of torchrun hear of each other before they form a group, and when they end.

torchrun ends the other processes of a node if one fails there. Those of other nodes would wait for it, until the
timeout of the group that they want to form; the store through which they meet tells them that it will not come.
"""

import atexit
import contextlib
import datetime
import os
import sys
import time
from typing import Any

from fan_mm.errors import LOST_PROCESS, InputError

_PAUSE = 0.1  # seconds
_LONGEST = 1800.0  # seconds, as long as PyTorch waits for a group of gloo's
_PATIENCE = datetime.timedelta(seconds=20)  # of a process that ends, for a store that may be gone
_LONGER = datetime.timedelta(minutes=2)  # of one that begins: many may ask at once


def wait_for_all() -> None:
    """Wait until every process is about to join the group, or until waiting is left to the group itself.

    One that is killed says nothing, and the group has a timeout.

    Raises:
        InputError: one has ended instead, or the launcher of the first node.
    """
    if not _several_nodes():
        return
    store = _store(_LONGER)
    if store is None:
        raise InputError(LOST_PROCESS)
    end = time.monotonic() + _LONGEST
    try:
        here = store.add(_key('here'), 1)
        while here < int(os.environ['WORLD_SIZE']) and time.monotonic() < end:
            if store.check([_key('ended')]):
                raise InputError(LOST_PROCESS)
            time.sleep(_PAUSE)
            here = store.add(_key('here'), 0)
    except RuntimeError as error:  # the store's
        raise InputError(LOST_PROCESS) from error


def watch_imports() -> None:
    """Say that this process ends, should it end before its tool's imports are done: a library may be missing."""
    if _several_nodes():
        with contextlib.suppress(ImportError):
            import torch.distributed  # noqa: F401  (it cannot be imported while Python shuts down)

            atexit.register(say_ended)


def imported() -> None:
    """Leave it to the tool to say how it ends."""
    atexit.unregister(say_ended)


def say_ended() -> None:
    """Tell those who wait that this process ends, unless it has joined them."""
    if _group() is not None:
        return  # they notice
    if (store := _store(_PATIENCE)) is not None:
        with contextlib.suppress(RuntimeError):  # it has gone, too
            store.set(_key('ended'), '')


def end_together() -> None:
    """Wait for the others before a status that is not 0, of which torchrun ends them: one writes the results."""
    if (group := _group()) is not None:
        group.barrier()


def _group() -> Any:
    """torch.distributed, if this process has joined a group."""
    module: Any = sys.modules.get('torch.distributed')
    if module is None or not module.is_available():  # some builds of PyTorch have none
        return None
    return module if module.is_initialized() else None


def _store(timeout: datetime.timedelta) -> Any:
    """The store of torchrun's first node; None for one node, other launchers, or if it is gone."""
    if not _several_nodes():
        return None
    from torch.distributed import TCPStore

    host, port = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])
    try:
        return TCPStore(host, port, is_master=False, timeout=timeout)
    except RuntimeError:
        return None


def _several_nodes() -> bool:
    several = os.environ.get('GROUP_WORLD_SIZE', '1') != '1'
    return several and os.environ.get('TORCHELASTIC_USE_AGENT_STORE') == 'True'


def _key(what: str) -> str:
    return f'fan_mm/{what}/{os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)}'
