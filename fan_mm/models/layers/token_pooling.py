"""Token-aware average pooling, TAP (Guo et al., Robustifying Token Attention, ICCV 2023, Eq. 2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fan_mm.models.layers.token_map import as_map, as_tokens


class TokenPooling(nn.Module):
    r"""Replace every token by a mixture of averages over neighbourhoods of K sizes.

    With weights :math:`\pi_d` that two small convolutions predict for every token, and
    :math:`P_d` the mean of the 9 tokens at distances 0 and d (:math:`P_0` the token itself),

    .. math:: \mathrm{TAP}(x) = \sum_{d=0}^{K-1} \pi_d \odot P_d(x), \qquad
              \pi = \mathrm{softmax}_d(\mathrm{conv}(\mathrm{BN}(\mathrm{conv}(x)))).

    Tokens outside the grid count as 0. The mean is a depthwise convolution with a constant kernel,
    which avoids an intermediate nine times as large as the tokens.

    Args:
        dim: channels C.
        scales: K, the number of neighbourhoods; the first is the token alone.
    """

    def __init__(self, dim: int, scales: int) -> None:
        super().__init__()
        self.dim = dim
        self.scales = scales
        self.predictor = nn.Sequential(
            nn.Conv2d(dim, scales, 3, padding=1, bias=False),
            nn.BatchNorm2d(scales),  # plain batch norm, also in the official dense models
            nn.Conv2d(scales, scales, 3, padding=1, bias=False),
        )

    def weights(self, x: Tensor) -> Tensor:
        """Mixing weights of the scales for a map (B, C, H, W): (B, K, H, W), summing to 1."""
        return self.predictor(x).softmax(1)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Map tokens (B, N, C) on a grid (H, W) to (B, N, C)."""
        x = as_map(tokens, grid)
        if x.is_cuda:
            # Only PyTorch's depthwise kernels support dilation, and they need contiguous maps.
            x = x.contiguous()
        kernel = x.new_full((self.dim, 1, 3, 3), 1 / 9)
        token, *others = self.weights(x).split(1, dim=1)
        pooled = token * x
        for d, weight in enumerate(others, 1):
            mean = F.conv2d(x, kernel, padding=d, dilation=d, groups=self.dim)
            pooled = torch.addcmul(pooled, weight, mean)
        return as_tokens(pooled)
