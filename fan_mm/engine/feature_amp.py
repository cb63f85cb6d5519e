"""Mixed precision for detectors, whose operators do not support bfloat16."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

from fan_mm.engine.distributed import unwrapped


@OPTIM_WRAPPERS.register_module()
class FeatureAmpOptimWrapper(OptimWrapper):
    """bfloat16 autocast of a model's backbone and neck; heads get float32 maps and run in float32.

    mmdet creates anchors and regions in the dtype of the maps, and bfloat16 rounds coordinates
    above 512 to multiples of 4; mmcv's NMS and RoIAlign do not support bfloat16 at all. The backbone
    takes most of the time and memory anyway. Losses need no scaling, because bfloat16 has the range of
    float32. Takes the arguments of ``OptimWrapper``. Works on CPUs and GPUs.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast backbone and neck inside the usual gradient-accumulation context."""
        inner = unwrapped(model)
        parts = [getattr(inner, name, None) for name in ('backbone', 'neck')]
        device = next(inner.parameters()).device.type
        with super().optim_context(model), ExitStack() as stack:
            for part in parts:
                if part is not None:
                    for handle in _autocast(part, device):
                        stack.callback(handle.remove)
            yield


def _autocast(module: nn.Module, device: str) -> list:
    """Let a module run under autocast and give out float32; returns the hooks' handles."""
    autocast = torch.autocast(device, torch.bfloat16)

    def enter(*_: object) -> None:
        autocast.__enter__()

    def leave(_: nn.Module, __: tuple, outputs: tuple[Tensor, ...] | None) -> tuple | None:
        autocast.__exit__(None, None, None)
        return outputs and tuple(x.float() for x in outputs)

    return [
        module.register_forward_pre_hook(enter),
        module.register_forward_hook(leave, always_call=True),
    ]
