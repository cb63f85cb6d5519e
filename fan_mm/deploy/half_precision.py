"""A graph in half precision: weights and products in float16, what that would harm in float32."""

import re
from collections import Counter
from typing import Any

from fan_mm.deploy.graph import scopes_of

# By operators; sums over all tokens overflow float16 or lose the small terms.
KEPT = {
    'softmax': ('Softmax', 'LogSoftmax'),
    'norms': (
        *('LayerNormalization', 'BatchNormalization', 'GroupNormalization'),
        *('InstanceNormalization', 'RMSNormalization', 'LpNormalization'),
    ),
    'sums and means': ('ReduceMean', 'ReduceSum', 'ReduceL2', 'GlobalAveragePool', 'Pow'),
}
_POSITION = re.compile(r'(^|\.)(pos|position|rel_pos|relative_position)(_|\.|$)')
_AROUND = 'pixels and scores'
_FLOAT = 1  # of onnx's types


def to_half(proto: Any) -> tuple[Any, dict[str, int]]:
    """Convert a float32 graph to half precision.

    Softmax, norms, sums over tokens, the position code, and everything outside layers (pixel normalisation
    and post-processing of scores) stay in float32. Inputs and outputs keep their types.

    Args:
        proto: onnx's ``ModelProto`` from `fan_mm.deploy.export_onnx`; it is not changed.

    Returns:
        The graph in half precision, and the number of nodes that stayed in float32, by kind.
    """
    import onnx
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    half = onnx.ModelProto()
    half.CopyFrom(proto)
    kept: Counter[str] = Counter()
    names = []
    for number, node in enumerate(half.graph.node):
        node.name = node.name or f'node_{number}'
        why = _why_kept(node)
        if why:
            kept[why] += 1
            names.append(node.name)
        if node.op_type == 'Attention':  # of opset 23 on; its softmax is inside
            node.attribute.append(onnx.helper.make_attribute('softmax_precision', _FLOAT))
            kept['softmax'] += 1
    blocked = [op for op in DEFAULT_OP_BLOCK_LIST if op not in ('Min', 'Max')]
    half = convert_float_to_float16(
        half, keep_io_types=True, op_block_list=blocked, node_block_list=names
    )
    sorter = OnnxModel(half)  # the casts were put at the end
    sorter.topological_sort()
    half = sorter.model
    del half.graph.value_info[:]
    half = onnx.shape_inference.infer_shapes(half, data_prop=True)
    onnx.checker.check_model(half, full_check=True)
    return half, dict(kept)


def _why_kept(node: Any) -> str | None:
    for name, operators in KEPT.items():
        if node.op_type in operators:
            return name
    scopes = scopes_of(node)
    if any(_POSITION.search(scope) for scope in scopes):
        return 'position code'
    return _AROUND if scopes and not any(scopes) else None
