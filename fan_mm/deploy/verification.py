"""Whether an exported file computes what PyTorch does in float32, also at sizes that were not traced."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fan_mm.deploy.graph import scopes_of
from fan_mm.deploy.network import Network, not_taken
from fan_mm.deploy.onnx_export import axes_of
from fan_mm.engine.onnx_file import open_session, run_session

BATCHES = (1, 3)
TOKENS = (32, 64)  # pixels, of which a model may want whole multiples


@dataclass(frozen=True)
class Bounds:
    """What a verification lets pass.

    Attributes:
        error: largest difference from PyTorch, as a part of the largest value of an output. No class
            may differ whose best two scores lie further apart than this explains.
        agreement: least share of equal classes.
    """

    error: float
    agreement: float

    def __str__(self) -> str:
        return f'at most {self.error:g} and at least {100 * self.agreement:g} % are required'


# Eight bits: a class must be the same, a score need only be near.
BOUNDS = {'fp32': Bounds(1e-3, 0.0), 'fp16': Bounds(0.02, 0.98), 'int8': Bounds(0.5, 0.9)}


@dataclass(frozen=True)
class Verification:
    """What a verification found.

    Attributes:
        shapes: (batch, height, width) of every input tried, the traced one first.
        error: largest difference from PyTorch, as a part of the largest value.
        agreement: share of equal classes (images or pixels); None for features.
        decided: the same among those whose best two classes lie further apart than the bound explains.
        passed: nothing is further off than the bounds, and all decided classes are equal.
    """

    shapes: tuple[tuple[int, int, int], ...]
    error: float
    agreement: float | None
    decided: float | None
    passed: bool

    def entries(self) -> dict[str, Any]:
        """For the file's metadata."""
        return {**asdict(self), 'against': f'PyTorch {torch.__version__}, float32, CPU'}

    def __str__(self) -> str:
        sizes = ', '.join(f'{b}x{h}x{w}' for b, h, w in self.shapes)
        line = f'largest difference {self.error:.1e} of the largest value'
        if self.agreement is not None:
            # not rounded up to all of them
            shown = 100 if self.agreement == 1 else min(100 * self.agreement, 99.999)
            line += f', {shown:.3f} % of the classes agree'
        return f'{line} (batch x height x width: {sizes})'


def shapes_to_try(
    size: tuple[int, int], free: Sequence[str], batch: int
) -> tuple[tuple[int, int, int], ...]:
    """Inputs for a verification: the traced one, and others as far as the graph is free.

    The others have another aspect ratio, are smaller and larger, and no multiples of anything.
    """
    height, width = size
    sizes = [size]
    if 'size' in free:
        sizes += [
            (height * 3 // 4 + 1, width),
            (height, width * 5 // 4 + 3),
            (width + 6, height + 1),
        ]
    batches = BATCHES if 'batch' in free else (batch,)
    tried = [(batches[i % len(batches)], *shape) for i, shape in enumerate(sizes)]
    return tuple(dict.fromkeys(tried + [(b, *size) for b in batches]))


@torch.no_grad()
def verify(
    run: Callable[[Tensor], Sequence[np.ndarray]],
    network: Network,
    size: tuple[int, int],
    free: Sequence[str],
    batch: int = 1,
    bounds: Bounds = BOUNDS['fp32'],
    example: Callable[..., Tensor] | None = None,
) -> Verification:
    """Compare an exported network with the original.

    Args:
        run: the exported outputs for an input, such as those of an onnxruntime session.
        network: the original network.
        size: traced height and width.
        free: which of 'batch' and 'size' stay dynamic.
        batch: batch size, if that is fixed.
        bounds: the largest differences that pass.
        example: makes inputs, by default `Network.example`: noise, which calibrated ranges do not
            cover.

    Raises:
        InputError: it expects another input than the network, or the network accepts no size but the
            traced one.
    """
    example = example or network.example
    error, equal, decided, pixels, sure = 0.0, 0, 0, 0, 0
    tried: dict[tuple[int, int, int], None] = {}
    _, high, wide = axes_of(network)
    for number, shape in enumerate(shapes_to_try(size, free, batch)):
        tokens = (1,) if shape[1:] == size else (1, *TOKENS)
        images, expected = _expected(
            network, functools.partial(example, seed=number), shape, tokens
        )
        tried[len(images), images.shape[high], images.shape[wide]] = None
        shapes = tuple(tried)
        found = run(images)
        if [tuple(e.shape) for e in expected] != [f.shape for f in found]:
            return Verification(shapes, float('inf'), None, None, False)
        if network.part == 'features':
            error = max(error, *(map(_difference, expected, found)))
            continue
        if network.output != 'labels':
            error = max(error, _difference(expected[0], found[0]))
        if network.several:
            continue
        logits = _logits(network, images)
        classes = torch.from_numpy(found[0])
        if network.output != 'labels':
            classes = network.labels(classes if network.output == 'logits' else classes.logit(1e-7))
        same = classes.long() == network.labels(logits).long()
        clear = _clear(logits, network, bounds.error)
        equal, pixels = equal + int(same.sum()), pixels + same.numel()
        decided, sure = decided + int((same & clear).sum()), sure + int(clear.sum())
    agreement = equal / pixels if pixels else None
    clearly = (decided / sure if sure else 1.0) if pixels else None
    passed = error <= bounds.error and clearly in (None, 1.0)
    passed = passed and (agreement is None or agreement >= bounds.agreement)
    return Verification(shapes, error, agreement, clearly, passed)


def _expected(
    network: Network,
    example: Callable[..., Tensor],
    shape: tuple[int, int, int],
    tokens: Sequence[int],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """An input and the network's outputs for it, of the first whole tokens that the network takes.

    Raises:
        InputError: it takes none.
    """
    batch, *sides = shape
    for token in tokens:
        images = example(batch, *(-(-side // token) * token for side in sides))
        try:
            outputs = network(images)
            return images, outputs if isinstance(outputs, tuple) else (outputs,)
        except Exception as error:  # whatever the model's parts raise
            if token == tokens[-1]:
                more = f', nor multiples of {token}: export it without --dynamic size'
                raise not_taken(sides, error, more * (token > 1)) from None
    raise AssertionError('unreachable')


def _logits(network: Network, images: Tensor) -> Tensor:
    output, network.output = network.output, 'logits'
    try:
        return network(images)
    finally:
        network.output = output


def _clear(logits: Tensor, network: Network, tolerance: float) -> Tensor:
    """Where no error within the tolerance could change the class."""
    margin = 4 * tolerance * logits.abs().max()
    if network.sigmoid:
        edge = np.log(network.threshold / (1 - network.threshold))
        return (logits[:, 0] - edge).abs() > margin
    best = logits.topk(min(2, logits.shape[1]), 1).values
    return (
        best[:, 0] - best[:, -1] > margin if best.shape[1] > 1 else torch.ones_like(best[:, 0]) > 0
    )


def _difference(expected: Tensor, found: np.ndarray) -> float:
    """Largest difference as a part of the largest value; infinite for NaN."""
    wanted = expected.double().numpy()
    scale = max(float(np.abs(wanted).max()), 1e-12)
    off = float(np.abs(found - wanted).max()) / scale
    return off if np.isfinite(off) else float('inf')


# ------------------------------------------------------------------------ where it goes wrong


@torch.no_grad()
def first_difference(
    proto: Any, network: Network, images: Tensor, tolerance: float = BOUNDS['fp32'].error
) -> str | None:
    """The first layer, in the order of computation, whose output in the graph is not PyTorch's.

    Layers are found by the names that the exporter leaves with the nodes; those that its optimiser
    took apart are passed over.

    Args:
        proto: onnx's ``ModelProto``.
        network: the original network.
        images: an input that shows the difference.
        tolerance: largest difference of equal outputs, as a part of the largest value.

    Returns:
        The layer's name, with its error; None if no layer that can be compared differs.
    """
    import onnx

    outputs = dict(_outputs_of_layers(proto))
    expected: dict[str, Tensor] = {}

    def keep(name: str, module: nn.Module, args: tuple, output: Any) -> None:
        if isinstance(output, Tensor):
            expected[name] = output.detach().clone()

    hooks = [
        module.register_forward_hook(functools.partial(keep, name))
        for name, module in network.named_modules()
        if name in outputs
    ]
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not expected:
        return None
    probe = onnx.ModelProto()
    probe.CopyFrom(proto)
    del probe.graph.output[:]
    for tensor in dict.fromkeys(outputs[name] for name in expected):
        probe.graph.output.add(name=tensor)
    session = open_session(probe.SerializeToString())
    found = dict(
        zip([o.name for o in session.get_outputs()], run_session(session, images), strict=True)
    )
    for name, value in expected.items():  # in the order in which they were computed
        there = found[outputs[name]]
        if there.shape == tuple(value.shape):
            error = _difference(value, there)
            if error > tolerance:
                return f'{name} (largest difference {error:.1e} of the largest value)'
    return None


def _outputs_of_layers(proto: Any) -> Iterator[tuple[str, str]]:
    """Names of layers, each with the tensor that the last of its nodes makes."""
    for node in proto.graph.node:
        for scope in scopes_of(node):
            if scope and node.output and node.output[0]:
                yield scope, node.output[0]
