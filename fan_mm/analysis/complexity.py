"""Parameters and FLOPs by module: mmengine's counter, with the missing operators registered.

As usual in the field, a FLOP is one multiplication with its addition. Products and sums of products
are counted: linear layers, convolutions, both products of attention (``softmax(QK^T)V``), the
einsum of the channel attention's gate; norms at mmengine's rates (5 per value for layer norms, 2 for
batch norms). Element-wise functions (GELU, softmax, sigmoid, residual sums) are not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from mmengine.analysis import FlopAnalyzer, parameter_count
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from rich.table import Table
from torch import Tensor, nn

from fan_mm.analysis.subject import fitting_memory
from fan_mm.engine.config.building import building, used_so
from fan_mm.engine.input_channels import input_channels
from fan_mm.engine.predictor import drop_data
from fan_mm.engine.runtime import prepare_runtime
from fan_mm.errors import InputError

# Work on single values, and changes of shape, that mmengine's counter has no rule for.
_NOT_COUNTED = """
    abs add addcmul any bernoulli ceil clone cos cumsum div exp feature_dropout expand_as gelu
    hardsigmoid hardswish index_select isnan item le leaky_relu lift_fresh linalg_vector_norm
    log log_softmax logical_and logical_not lt max_pool2d maximum mean meshgrid min minimum mul
    ne neg norm numpy_T pad pow prod rand repeat repeat_interleave rsqrt rsub sigmoid silu sin
    softmax softplus sqrt square sub sum swapaxes tanh tensor unflatten unsafe_chunk var where
    zeros_like
"""


@dataclass(frozen=True)
class Complexity:
    """The cost of a model for one input.

    Attributes:
        parameters: module name ('' for the whole) -> number of parameters.
        flops: module name -> FLOPs of its forward pass.
        operators: module name -> operator ('linear', 'conv', 'layer_norm', ...) -> FLOPs.
        unknown: operator -> number of calls for which the counter has no rule.
    """

    parameters: dict[str, int]
    flops: dict[str, int]
    operators: dict[str, dict[str, int]]
    unknown: dict[str, int]


def attention_flops(inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """Both products of scaled dot-product attention: queries by keys, weights by values."""
    query, key, value = (value.type().sizes() for value in inputs[:3])
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


@torch.no_grad()
def measure_complexity(model: nn.Module, inputs: Tensor) -> Complexity:
    """Count a model's parameters and the FLOPs of one forward pass.

    Args:
        model: on a CPU; set to eval mode.
        inputs: (B, C, H, W).
    """
    counter = FlopAnalyzer(model.eval(), (inputs,))
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    for name in _NOT_COUNTED.split():
        counter.set_op_handle(f'aten::{name}', None, f'aten::{name}_', None)
    counter.set_op_handle('aten::scaled_dot_product_attention', attention_flops)
    operators = {
        name: {operator: round(value) for operator, value in counts.items()}
        for name, counts in counter.by_module_and_operator().items()
    }
    flops = {name: sum(counts.values()) for name, counts in operators.items()}
    # mmcv's deformable convolutions are functions written in Python
    unsupported = counter.unsupported_ops().items()
    unknown = {n.removeprefix('prim::PythonOp.'): c for n, c in unsupported}
    modules = dict(model.named_modules())
    parameters = {n: v for n, v in parameter_count(model).items() if n in modules}
    parameters[''] = sum(p.numel() for p in model.parameters())
    return Complexity(parameters, flops, operators, unknown)


def complexity_of_config(cfg: Config, size: tuple[int, int]) -> Complexity:
    """Count the model of a config for mmseg, mmdet or mmpretrain, including its heads.

    The FLOPs of a two-stage detector's head are those for the proposals that random weights make.

    Args:
        cfg: config; modified in place.
        size: input size (H, W) in pixels.

    Raises:
        InputError: a mistake in the config, a size that needs too much memory, or a model that takes
            something other than one image.
    """
    drop_data(cfg)
    if 'model' not in cfg:
        raise InputError(f'{cfg.filename or "the config"} has no model')
    prepare_runtime(cfg)
    scope = cfg.get('default_scope', 'mmengine')
    fixed = torch.random.fork_rng(devices=())
    with fixed, building(cfg), DefaultScope.overwrite_default_scope(scope):
        # a detector has as many proposals as its random weights make, which its head's FLOPs depend on
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
    kind, picture = type(model).__name__, f'an image of {size[0]}x{size[1]}'
    with used_so(f'{kind} does not run on {picture} alone'), fitting_memory(picture):
        if scope == 'mmdet':
            model.forward = partial(model.forward, data_samples=[_sample(size)], mode='tensor')
        inputs = torch.zeros(1, input_channels(model, model.eval(), size), *size)
        return measure_complexity(model, inputs)


def _sample(size: tuple[int, int]) -> Any:
    """What a detector must be told of an image."""
    from mmdet.structures import DetDataSample

    shapes = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape', 'batch_input_shape'), size)
    return DetDataSample(metainfo=dict(**shapes, scale_factor=(1.0, 1.0)))


def module_table(complexity: Complexity, depth: int, title: str) -> Table:
    """Parameters and FLOPs of all modules down to a depth (1: the direct children), with their shares."""
    table = Table(title=title)
    table.add_column('module')
    for column in ('parameters', '%', 'FLOPs', '%'):
        table.add_column(column, justify='right')
    total = complexity.parameters[''], complexity.flops['']
    for name, flops in complexity.flops.items():
        parameters = complexity.parameters.get(name, 0)
        if name.count('.') >= depth or not (parameters or flops):
            continue
        level = name.count('.') + 1 if name else 0
        table.add_row(
            '  ' * level + (name or 'model'),
            millions(parameters),
            f'{100 * parameters / max(total[0], 1):.1f}',
            billions(flops),
            f'{100 * flops / max(total[1], 1):.1f}',
        )
    return table


def millions(count: float) -> str:
    """28345336 -> '28.345 M'."""
    return f'{count / 1e6:.3f} M'


def billions(count: float) -> str:
    """5478000000 -> '5.478 G'."""
    return f'{count / 1e9:.3f} G'
