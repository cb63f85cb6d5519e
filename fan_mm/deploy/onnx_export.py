"""A network as an ONNX graph, by PyTorch's dynamo exporter.

The graph is recorded with free batch, height and width: so no decision on a size hides in it, and what the
verification shows at other sizes holds. A side that shall be fixed is fixed afterwards. Only what
a third-party model that branches on sizes has to be traced at the size itself.
"""

import contextlib
import importlib
import io
import json
import logging
import warnings
from collections.abc import Sequence
from typing import Any

import torch

from fan_mm.deploy.graph import NAME_SCOPES
from fan_mm.deploy.network import Network, not_taken
from fan_mm.deploy.reductions import squeeze_afterwards
from fan_mm.engine.onnx_file import PREFIX
from fan_mm.errors import InputError, first_line

MAKERS_OPSET = 18  # that PyTorch's exporter writes; others are converted from it
NEWEST_OPSET = 23
BATCH = 2  # of the example: one of 1 would be taken for a constant
# Sides of the example, at least: so that no stage has a single row of windows, taken for a constant, too.
RECORDED = (448, 480)
INPUT = 'images'
LARGEST = 2**31  # bytes of a protobuf message


def require_onnx() -> None:
    """Check that what exporting and verifying need is installed.

    Raises:
        InputError: it is not; one line that says how to get it.
    """
    for module in ('onnx', 'onnxscript', 'onnxruntime'):
        try:
            importlib.import_module(module)
        except ImportError:
            raise InputError(
                f'{module} is not installed: pip install onnx onnxscript onnxruntime'
            ) from None


def axes_of(network: Network) -> tuple[int, int, int]:
    """Which axes of a network's input are batch, height and width."""
    return (0, 1, 2) if network.preprocessing else (0, 2, 3)


def write_metadata(proto: Any, entries: dict[str, Any]) -> None:
    """Write entries into a file's metadata as JSON, over those of the same names."""
    kept = {entry.key: entry.value for entry in proto.metadata_props}
    kept |= {PREFIX + name: json.dumps(value, sort_keys=True) for name, value in entries.items()}
    del proto.metadata_props[:]
    for key, value in kept.items():
        proto.metadata_props.add(key=key, value=value)


def export_onnx(
    network: Network,
    size: tuple[int, int],
    free: Sequence[str] = (),
    batch: int = 1,
    opset: int = MAKERS_OPSET,
    at_size: bool = False,
) -> Any:
    """Export a network.

    Args:
        network: to export.
        size: height and width in pixels.
        free: which of 'batch' and 'size' stay dynamic.
        batch: batch size, if that is not dynamic.
        opset: ONNX opset, at least `MAKERS_OPSET`.
        at_size: trace a graph only for this size (and batch, unless that is dynamic), for models that
            branch on sizes.

    Returns:
        onnx's ``ModelProto``, checked.

    Raises:
        InputError: a package is missing, the opset is out of range, the network does not accept
            the size, is too large for one file, or cannot be exported.
    """
    require_onnx()
    if not MAKERS_OPSET <= opset <= NEWEST_OPSET:
        raise InputError(f'--opset {opset}: PyTorch exports {MAKERS_OPSET} to {NEWEST_OPSET}')
    bytes_of_weights = sum(v.numel() * v.element_size() for v in network.state_dict().values())
    if bytes_of_weights >= LARGEST:
        raise InputError(
            f'{bytes_of_weights / 2**30:.1f} GiB of weights: an ONNX file can hold 2 GiB; --format pt2 has '
            'no such limit'
        )
    try:
        with torch.no_grad():
            network(network.example(1, *size))
    except Exception as error:  # whatever the model's parts raise
        raise not_taken(size, error) from None
    axes = axes_of(network)
    names = dict(zip(axes, ('batch', 'height', 'width'), strict=True))
    larger = max(size[0], RECORDED[0]), max(size[1], RECORDED[1])
    if at_size:
        axis = (0,) if 'batch' in free else ()
        program = _record(network, BATCH if axis else batch, size, axis, opset)
    else:
        program = _record(network, BATCH, larger, tuple(names), opset)
    proto = program.model_proto
    fixed = {} if 'batch' in free else {0: batch}
    if 'size' not in free:
        fixed |= dict(zip(axes[1:], size, strict=True))
    _name_input_axes(proto, names, fixed)
    _strip(proto)
    squeeze_afterwards(proto)
    return _checked(proto, opset)


def _record(
    network: Network, batch: int, size: tuple[int, int], free: Sequence[int], opset: int
) -> Any:
    """The exporter's program, with some axes of the input left open."""
    with torch.no_grad():
        return quietly(
            torch.onnx.export,
            network,
            (network.example(batch, *size),),
            dynamo=True,
            dynamic_shapes=(dict.fromkeys(free, torch.export.Dim.DYNAMIC),),
            input_names=[INPUT],
            output_names=network.output_names,
            opset_version=opset,
            optimize=True,
        )


def quietly(export: Any, *args: Any, **options: Any) -> Any:
    """Call an exporter of PyTorch without its pages of progress; its failure is one line.

    Raises:
        InputError: whatever it raised.
    """
    level = logging.getLogger('torch.onnx').level
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            logging.getLogger('torch.onnx').setLevel(logging.ERROR)
            return export(*args, **options)
    except Exception as error:  # the exporter's own errors are many
        causes: list[BaseException] = [error]
        while causes[-1].__cause__ is not None:
            causes.append(causes[-1].__cause__)
        lines = [line for line in str(causes[-1]).splitlines() if line.strip()] or ['']
        raise InputError(
            f'PyTorch cannot export this model: {type(causes[-1]).__name__}: {lines[0].strip()}'
        ) from error
    finally:
        logging.getLogger('torch.onnx').setLevel(level)


def _name_input_axes(proto: Any, free: dict[int, str], fixed: dict[int, int]) -> None:
    """Give the input's axes their names, or their lengths where they are fixed."""
    graph = proto.graph
    dims = graph.input[0].type.tensor_type.shape.dim
    names = {dims[axis].dim_param: name for axis, name in free.items() if dims[axis].dim_param}
    lengths = {dims[axis].dim_param: n for axis, n in fixed.items() if dims[axis].dim_param}
    for value in (*graph.input, *graph.output):
        for dim in value.type.tensor_type.shape.dim:
            name = dim.dim_param
            if name in lengths:
                dim.dim_value = lengths[name]
            elif name in names:
                dim.dim_param = names[name]
            elif name and value in list(graph.output):
                dim.ClearField('dim_param')  # an expression of them; inferred again


def _strip(proto: Any) -> None:
    """Take out what the exporter noted of shapes, stale now, and of this machine's source files."""
    del proto.graph.value_info[:]
    for node in proto.graph.node:
        kept = [(e.key, e.value) for e in node.metadata_props if e.key == NAME_SCOPES]
        del node.metadata_props[:]
        for key, value in kept:
            node.metadata_props.add(key=key, value=value)
        node.doc_string = ''


def _checked(proto: Any, opset: int) -> Any:
    import onnx

    found = next(entry.version for entry in proto.opset_import if entry.domain in ('', 'ai.onnx'))
    if found != opset:
        raise InputError(f'--opset {opset}: the graph could not be converted from {found}')
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # onnx has several kinds
        raise InputError(f'the exported graph is not valid: {first_line(error)}') from None
    return proto
