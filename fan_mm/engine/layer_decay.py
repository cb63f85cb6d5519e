"""Layer-wise learning-rate decay for any backbone that knows the depth of its parameters."""

from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from fan_mm.errors import InputError


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    r"""Smaller learning rates for layers nearer to the image (Bao et al., BEiT, 2022).

    A parameter at depth :math:`l` of :math:`L`, given by the backbone's ``get_layer_depth``, has
    learning rate :math:`\mathrm{lr} \cdot \mathrm{rate}^{L - 1 - l}`: the head has ``lr``, the stem the
    smallest learning rate. Works for classifiers, segmentors, detectors and bare backbones. All other
    options of ``paramwise_cfg``, including ``lr_mult``, work as in mmengine.

    Examples:
        >>> optim_wrapper = dict(
        ...     optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
        ...     constructor='LayerDecayOptimWrapperConstructor',
        ...     paramwise_cfg=dict(layer_decay_rate=0.8, norm_decay_mult=0.0))

    Raises:
        InputError: ``layer_decay_rate`` is missing or not in (0, 1], the optimizer has no ``lr``,
            or the backbone has no ``get_layer_depth``.
    """

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if not isinstance(rate, int | float) or not 0 < rate <= 1:
            raise InputError(
                f'paramwise_cfg.layer_decay_rate must be above 0 and at most 1, not {rate}'
            )
        if self.base_lr is None:
            raise InputError('layer-wise decay needs optim_wrapper.optimizer.lr')

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any
    ) -> None:
        """Add a module's parameters to ``params``, one group each, as mmengine does; then scale their rates.

        Raises:
            InputError: the backbone does not provide the depth of its layers.
        """
        super().add_params(params, module, prefix=prefix, **kwargs)
        if prefix:
            return  # mmengine calls it recursively; only the root call adds parameters
        backbone: Any = getattr(module, 'backbone', module)
        if not hasattr(backbone, 'get_layer_depth'):
            raise InputError(
                f'layer-wise decay needs a backbone with get_layer_depth; {type(backbone).__name__} '
                'has none'
            )
        backbone_prefix = '' if backbone is module else 'backbone.'
        rate = self.paramwise_cfg['layer_decay_rate']
        names = {parameter: name for name, parameter in module.named_parameters()}
        scales = []
        for group in params:
            depth, depths = backbone.get_layer_depth(names[group['params'][0]], backbone_prefix)
            scales.append(rate ** (depths - 1 - depth))
            group['lr'] = group.get('lr', self.base_lr) * scales[-1]
        print_log(
            f'layer-wise decay {rate}: learning rates x {min(scales):.3g} to x {max(scales):.3g}',
            logger='current',
        )
