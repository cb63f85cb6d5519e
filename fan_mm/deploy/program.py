"""A network as PyTorch's own exported program, a ``.pt2`` file that needs no code of the model."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fan_mm.deploy.network import Network
from fan_mm.deploy.onnx_export import BATCH, axes_of, quietly

METADATA = 'fan_mm.json'  # among a file's extra files


def write_program(
    path: Path,
    network: Network,
    size: tuple[int, int],
    free: Sequence[str],
    entries: dict[str, Any],
) -> Callable[[Tensor], list[np.ndarray]]:
    """Export a network by ``torch.export``, and read the file again.

    Args:
        path: the file.
        network: to export.
        size: height and width in pixels.
        free: of 'batch' and 'size', what the program leaves open.
        entries: go into the file, as JSON, under the name `METADATA`.

    Returns:
        The outputs of what the file holds, for an input.

    Raises:
        InputError: the network cannot be exported; one line.
    """
    names = {'batch': axes_of(network)[:1], 'size': axes_of(network)[1:]}
    axes = [axis for name in free for axis in names[name]]
    example = network.example(BATCH if 'batch' in free else 1, *size)
    with torch.no_grad():
        program = quietly(
            torch.export.export,
            network,
            (example,),
            dynamic_shapes=(dict.fromkeys(axes, torch.export.Dim.DYNAMIC),),
        )
    content = io.BytesIO()  # on a full disk torch's writer would abort the process
    torch.export.save(program, content, extra_files={METADATA: json.dumps(entries)})
    path.write_bytes(content.getbuffer())
    with path.open('rb') as file:
        module = torch.export.load(file).module()

    def run(images: Tensor) -> list[np.ndarray]:
        with torch.no_grad():
            outputs = module(images)
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        return [output.numpy() for output in outputs]

    return run
