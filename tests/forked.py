"""Processes forked from the test's own, where everything is imported, so that there can be many."""

import multiprocessing
import os
import time

import cv2
import torch

FORK = multiprocessing.get_context('fork')


def start(function, *args):
    """Run a function in a forked process of its own session."""

    def child():
        os.setsid()
        # A forked process has none of its parent's threads.
        torch.set_num_threads(1)
        cv2.setNumThreads(0)
        function(*args)

    process = FORK.Process(target=child)
    process.start()
    while process.is_alive() and os.getpgid(process.pid) != process.pid:
        time.sleep(0.001)  # it can be killed as a group from here on
    return process


def on_ranks(function, ranks, store, *args):
    """Call a function on some ranks of a gloo group, and wait."""

    def rank_main(rank):
        os.environ['LOCAL_RANK'] = str(rank)
        torch.distributed.init_process_group(
            'gloo', init_method=f'file://{store}', rank=rank, world_size=ranks
        )
        function(rank, *args)
        torch.distributed.barrier()  # one that has nothing to ask would leave while others still join
        torch.distributed.destroy_process_group()

    processes = [start(rank_main, rank) for rank in range(ranks)]
    for process in processes:
        process.join(timeout=900)
    assert [process.exitcode for process in processes] == [0] * ranks
