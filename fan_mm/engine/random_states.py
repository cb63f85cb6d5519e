"""The random generators of Python, NumPy and PyTorch, put back after what must not change a run."""

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


def random_states() -> tuple:
    """States of the random generators that a transform may draw from."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


@contextlib.contextmanager
def random_states_kept() -> Iterator[None]:
    """Set the random generators back after the block, that of the GPU in use, too."""
    state, of_numpy, _ = random_states()
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(state)
        np.random.set_state(of_numpy)
