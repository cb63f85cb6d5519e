"""Our own operators for GPUs, in PyTorch's dispatcher, with kernels that Triton compiles.

Each operator has a file, its kernels another (`*_triton`), which is imported when it is first needed; on
other devices, and where there is no Triton, the operators are PyTorch's formulas. As operators they are
seen by fake tensors, `torch.compile` and `torch.export` as PyTorch's own are. Sums are float32 whatever
the inputs are, and always in the same order.
"""

from fan_mm.models.kernels.channel_gate import channel_similarity, softmax_over_tokens
from fan_mm.models.kernels.depthwise import depthwise_on_gpu
from fan_mm.models.kernels.layer_norm import layer_norm_on_gpu
from fan_mm.models.kernels.library import beside, fuses, has_kernels
from fan_mm.models.kernels.scaled_residual import scaled_residual_on_gpu

__all__ = [
    'beside',
    'channel_similarity',
    'depthwise_on_gpu',
    'fuses',
    'has_kernels',
    'layer_norm_on_gpu',
    'scaled_residual_on_gpu',
    'softmax_over_tokens',
]
