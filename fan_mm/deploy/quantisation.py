"""A graph in eight-bit integers: static quantisation by onnxruntime, calibrated on images.

Weights of convolutions and of products with weights have a scale for each output channel,
activations one for the tensor. Products between activations (attention) stay float, and so does all else.
"""

import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

QUANTISED = ('Conv', 'MatMul', 'Gemm')


def to_int8(proto: Any, pictures: Iterable[Tensor]) -> tuple[Any, dict[str, int]]:
    """Quantise a float32 graph.

    Args:
        proto: onnx's ``ModelProto`` from `fan_mm.deploy.export_onnx`; it is not changed.
        pictures: inputs of the graph, with one image each, whose activations determine the scales.

    Returns:
        The graph, with QuantizeLinear and DequantizeLinear around integer operators, and the number
        of matrix-product nodes that stayed in float, by operator.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Pictures(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(pictures)

        def get_next(self) -> dict | None:
            picture = next(self.left, None)
            return None if picture is None else {name: picture.numpy()}

    name = proto.graph.input[0].name
    source = onnx.ModelProto()
    source.CopyFrom(proto)
    for number, node in enumerate(source.graph.node):
        node.name = node.name or f'node_{number}'
    products = list(_between_activations(source))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'int8.onnx')
        logging.disable(logging.WARNING)  # that shapes could be inferred better, on the root logger
        try:
            quantize_static(
                source,
                path,
                Pictures(),
                op_types_to_quantize=list(QUANTISED),
                per_channel=True,
                # behind a Concat OpenVINO 2026.4 computes signed ones wrongly; onnxruntime makes
                # unsigned ones of them itself on x86
                activation_type=QuantType.QUInt8,
                nodes_to_exclude=[node.name for node in products],
                # a bias, or attention, comes next: in float
                extra_options={'OpTypesToExcludeOutputQuantization': ['MatMul', 'Gemm']},
            )
        finally:
            logging.disable(logging.NOTSET)
        made = onnx.load(str(path))
    _round_for_products_alone(made.graph, {node.name for node in products})
    onnx.checker.check_model(made, full_check=True)
    return made, dict(Counter(node.op_type for node in products))


def _between_activations(proto: Any) -> Iterator[Any]:
    """Products whose second factor is no weight."""
    weights = {weight.name for weight in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type in QUANTISED and node.input[1] not in weights:
            yield node


def _round_for_products_alone(graph: Any, products: set[str]) -> None:
    """Give what is computed in float the value before it was rounded for a product beside it.

    What a convolution makes is rounded for all: only so is it computed in integers. But where it is
    averaged with zeros around it, OpenVINO 2026.4 takes the integer 0 for them.
    """
    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type in QUANTISED and node.name not in products:
            continue
        for place, name in enumerate(node.input):
            restored = makers.get(name)
            if restored is None or restored.op_type != 'DequantizeLinear':
                continue
            rounded = makers.get(restored.input[0])
            source = rounded and makers.get(rounded.input[0])
            if rounded is None:
                continue
            if source is None or source.op_type != 'Conv' or _averages_padding(node):
                node.input[place] = rounded.input[0]


def _averages_padding(node: Any) -> bool:
    """Whether zeros around a map count in its averages."""
    options = {entry.name: entry for entry in node.attribute}
    counts = 'count_include_pad' in options and options['count_include_pad'].i
    padded = 'pads' in options and any(options['pads'].ints)
    return node.op_type == 'AveragePool' and bool(counts) and padded
