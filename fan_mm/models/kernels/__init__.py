"""Our own operators for GPUs, in PyTorch's dispatcher, with kernels that Triton compiles.

Each operator has one file, and its Triton kernels another (`*_triton`), imported on first use. On other
devices, or without Triton, the operators fall back to PyTorch formulas. They are registered operators, so
fake tensors, `torch.compile` and `torch.export` handle them like PyTorch's own. Sums are accumulated in
float32 for any input type, and always in the same order.
"""

from fan_mm.models.kernels.channel_gate import channel_similarity, softmax_over_tokens
from fan_mm.models.kernels.depthwise import depthwise_on_gpu
from fan_mm.models.kernels.layer_norm import layer_norm_on_gpu
from fan_mm.models.kernels.library import beside, exporting, fuses, has_kernels, transformed
from fan_mm.models.kernels.scaled_residual import scaled_residual_on_gpu

__all__ = [
    'beside',
    'channel_similarity',
    'depthwise_on_gpu',
    'exporting',
    'fuses',
    'has_kernels',
    'layer_norm_on_gpu',
    'scaled_residual_on_gpu',
    'softmax_over_tokens',
    'transformed',
]
