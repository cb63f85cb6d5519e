"""An ONNX graph as an engine of TensorRT, which is built for one kind of GPU by one version."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fan_mm.errors import InputError


def require_tensorrt() -> Any:
    """TensorRT's module.

    Raises:
        InputError: it is not installed, or there is no GPU; one line.
    """
    try:
        import tensorrt
    except ImportError:
        raise InputError(
            'tensorrt is not installed: pip install tensorrt, on the machine with the target NVIDIA '
            'GPU'
        ) from None
    if not torch.cuda.is_available():
        raise InputError('an engine must be built on the target GPU, but there is no GPU')
    return tensorrt


def write_engine(
    path: Path, proto: Any, shapes: Sequence[Sequence[int]]
) -> Callable[[Tensor], list[np.ndarray]]:
    """Build an engine from a graph, and read the file again.

    Args:
        path: the file.
        proto: onnx's ``ModelProto``; float16 and int8 are what the graph says.
        shapes: of inputs that the engine shall take, the one it is tuned for first.

    Returns:
        The outputs of the engine for an input.

    Raises:
        InputError: TensorRT does not take the graph; one line.
    """
    trt = require_tensorrt()
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    strongly = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(proto.SerializeToString()):
        raise InputError(f'TensorRT rejects the graph: {parser.get_error(0).desc()}')
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    least, most = (tuple(map(choose, zip(*shapes, strict=True))) for choose in (min, max))
    profile.set_shape(network.get_input(0).name, least, tuple(shapes[0]), most)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise InputError('TensorRT cannot build an engine from the graph (its log says why)')
    path.write_bytes(engine)
    return _runner(trt.Runtime(logger).deserialize_cuda_engine(path.read_bytes()), trt)


def _runner(engine: Any, trt: Any) -> Callable[[Tensor], list[np.ndarray]]:
    context = engine.create_execution_context()
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    inputs = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]

    def run(images: Tensor) -> list[np.ndarray]:
        given = images.cuda().contiguous()
        context.set_input_shape(inputs[0], tuple(given.shape))
        context.set_tensor_address(inputs[0], given.data_ptr())
        outputs = []
        for name in names:
            if name not in inputs:
                dtype = getattr(torch, np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name)
                outputs.append(torch.empty(tuple(context.get_tensor_shape(name)), dtype=dtype))
                outputs[-1] = outputs[-1].cuda()
                context.set_tensor_address(name, outputs[-1].data_ptr())
        stream = torch.cuda.current_stream()
        stream.synchronize()
        context.execute_async_v3(stream.cuda_stream)
        stream.synchronize()
        return [output.cpu().numpy() for output in outputs]

    return run
