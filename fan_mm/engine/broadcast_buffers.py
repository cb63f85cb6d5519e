"""One model for all processes to validate, where batch norm statistics are each process's own."""

from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from fan_mm.engine.distributed import unwrapped


@HOOKS.register_module()
class BroadcastBuffersHook(Hook):
    """Before validation, give every process the buffers of the first, which are those in the checkpoint.

    SyncBN keeps them equal, but plain BN (in the ImageNet recipe, and instead of SyncBN on CPUs) does
    not, so distributed validation would not evaluate the saved model.
    """

    priority = 'LOW'  # after EMAHook has swapped the averaged weights in

    def before_val_epoch(self, runner: Runner) -> None:
        """Broadcast from rank 0; without a process group, nothing happens."""
        model = unwrapped(runner.model)
        for buffer in model.buffers():
            broadcast(buffer)
