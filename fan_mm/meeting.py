"""What processes of torchrun hear of each other before they form a group, and when they end.

torchrun ends the other processes of a node if one fails there. Those of other nodes would wait for it, until the
timeout of the group that they want to form; the store through which they meet tells them that it will not come.
"""

import datetime
import os
import sys
import time
from typing import Any

from fan_mm.errors import LOST_PROCESS, InputError

_PAUSE = 0.1  # seconds
_PATIENCE = datetime.timedelta(seconds=20)  # of a process that ends, for a store that may be gone


def wait_for_all() -> None:
    """Wait until every process is about to join the group.

    Raises:
        InputError: one has ended instead.
    """
    store = _store()
    if store is None:
        return
    store.add(_key('here'), 1)
    while store.add(_key('here'), 0) < int(os.environ['WORLD_SIZE']):
        if store.check([_key('ended')]):
            raise InputError(LOST_PROCESS)
        time.sleep(_PAUSE)


def say_ended() -> None:
    """Tell those who wait that this process ends, unless it has joined them."""
    if _group() is not None:
        return  # they notice
    if (store := _store()) is not None:
        store.set(_key('ended'), '')


def end_together() -> None:
    """Wait for the others before a status that is not 0, of which torchrun ends them: one writes the results."""
    if (group := _group()) is not None:
        group.barrier()


def _group() -> Any:
    """torch.distributed, if this process has joined a group."""
    module: Any = sys.modules.get('torch.distributed')
    return module if module is not None and module.is_initialized() else None


def _store() -> Any:
    """The store of torchrun's first node; None for one node, other launchers, or if it is gone."""
    several = os.environ.get('GROUP_WORLD_SIZE', '1') != '1'
    if not several or os.environ.get('TORCHELASTIC_USE_AGENT_STORE') != 'True':
        return None
    from torch.distributed import TCPStore

    host, port = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])
    try:
        return TCPStore(host, port, is_master=False, timeout=_PATIENCE)
    except RuntimeError:
        return None


def _key(what: str) -> str:
    return f'fan_mm/{what}/{os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)}'
