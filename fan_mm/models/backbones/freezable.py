"""What every FAN backbone promises: parts that stay frozen, batch norms that stay in eval mode, a least size."""

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from fan_mm.errors import InputError
from fan_mm.models.checkpoints import CheckpointedBackbone


class FreezableBackbone(CheckpointedBackbone):
    """A backbone with mmpretrain's ``frozen_stages`` and ``norm_eval``.

    Subclasses decide by parameter name what is frozen (`_is_frozen`) and call `_freeze` at the end
    of their constructor.
    """

    token_size: int  # pixels
    norm_eval: bool
    frozen_stages: int

    def train(self, mode: bool = True) -> 'FreezableBackbone':
        """Set training mode, except for frozen stages and, under ``norm_eval``, batch norms."""
        super().train(mode)
        for name, module in self.named_modules():
            frozen = name and self._is_frozen(name)
            if frozen or (self.norm_eval and isinstance(module, _BatchNorm)):
                module.eval()
        return self

    def _freeze(self, frozen_stages: int, stages: int) -> None:
        """Freeze the first of ``stages`` stages; 0 freezes what lies in front of them, -1 nothing."""
        if not -1 <= frozen_stages <= stages:
            raise InputError(f'frozen_stages must be in -1..{stages}, not {frozen_stages}')
        self.frozen_stages = frozen_stages
        for name, parameter in self.named_parameters():
            if self._is_frozen(name):
                parameter.requires_grad = False

    def _is_frozen(self, name: str) -> bool:
        """Whether a parameter or module lies in the frozen stages."""
        raise NotImplementedError

    def _check_size(self, images: Tensor) -> None:
        """Refuse images (B, 3, H, W) smaller than one token."""
        height, width = images.shape[-2:]
        if min(height, width) < self.token_size:
            size = self.token_size
            raise InputError(f'images of {height}x{width} pixels: a token is {size}x{size}')
