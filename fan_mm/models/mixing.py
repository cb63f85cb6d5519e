"""Mixing of the ImageNet recipe: mixup or cutmix of a batch with itself in reverse (spec 9, 13.2)."""

import numpy as np
import torch
from torch import Tensor

from fan_mm.errors import InputError


class MixupCutmix:
    """Mix every batch, image i with image B - 1 - i, by mixup or by cutmix with one ratio for all.

    Configure it in mmpretrain by its full name: ``train_cfg=dict(augments=dict(
    type='fan_mm.models.mixing.MixupCutmix'))``. Uses NumPy's global generator, like timm's collate
    function.

    Mixup: Zhang et al., ICLR 2018. Cutmix: Yun et al., ICCV 2019.

    Args:
        mixup_alpha: alpha of the Beta distribution of mixup's ratio.
        cutmix_alpha: alpha of the Beta distribution of cutmix's ratio.
        switch_prob: probability of cutmix instead of mixup.

    Raises:
        InputError: an alpha is not positive, or ``switch_prob`` is not a probability.
    """

    def __init__(
        self, mixup_alpha: float = 0.8, cutmix_alpha: float = 1.0, switch_prob: float = 0.5
    ) -> None:
        if min(mixup_alpha, cutmix_alpha) <= 0 or not 0 <= switch_prob <= 1:
            raise InputError('mixing needs positive alphas and a switch_prob from 0 to 1')
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.switch_prob = switch_prob

    def __call__(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mix images (B, 3, H, W), floats, and targets (B, K) of any type."""
        targets = targets.float()
        np.random.rand()  # timm draws here whether to mix at all; with this recipe, always
        cut = np.random.rand() < self.switch_prob
        alpha = self.cutmix_alpha if cut else self.mixup_alpha
        ratio = float(np.random.beta(alpha, alpha))
        if cut:
            rows, columns, ratio = self._box(images.shape[-2:], ratio)
            mixed = images.clone()
            mixed[..., rows, columns] = images.flip(0)[..., rows, columns]
        else:
            mixed = torch.lerp(images.flip(0), images, ratio)
        return mixed, torch.lerp(targets.flip(0), targets, ratio)

    @staticmethod
    def _box(size: tuple[int, ...], ratio: float) -> tuple[slice, slice, float]:
        """A box of about ``1 - ratio`` of the area, cut at the border, and the ratio that it leaves."""
        height, width = size
        side = np.sqrt(1 - ratio)
        half_height, half_width = int(height * side) // 2, int(width * side) // 2
        y, x = np.random.randint(0, height), np.random.randint(0, width)
        top, bottom = np.clip([y - half_height, y + half_height], 0, height)
        left, right = np.clip([x - half_width, x + half_width], 0, width)
        ratio = 1 - float((bottom - top) * (right - left)) / (height * width)
        return slice(top, bottom), slice(left, right), ratio
