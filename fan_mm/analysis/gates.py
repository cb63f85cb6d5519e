"""The gates of the efficient channel attention (FAN paper Eq. 7): one factor per channel and image."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from torch import Tensor, nn

from fan_mm.analysis.subject import (
    Subject,
    condition_label,
    corrupt_picture,
    distinct,
    picture_name,
)
from fan_mm.errors import InputError
from fan_mm.fileio import write_whole
from fan_mm.models.layers import EfficientChannelAttention
from fan_mm.report import colours, tables
from fan_mm.report.figures import WIDTH, new_figure, save, style


@contextlib.contextmanager
def record_gates(backbone: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Record the gates of every efficient channel attention within the ``with`` block.

    Yields:
        A dict that each forward pass refills: module name -> gates (B, C), detached, the factors
        by which the block scaled its channels.

    Raises:
        InputError: the network has no such attention.
    """
    attentions = {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, EfficientChannelAttention)
    }
    if not attentions:
        raise InputError(f'{type(backbone).__name__} has no efficient channel attention')
    gates: dict[str, Tensor] = {}

    def record(name: str, module: EfficientChannelAttention, args: tuple, output: Tensor) -> None:
        gates[name] = module.gate(args[0], module.q(args[0])).detach()

    handles = [backbone.register_forward_pre_hook(lambda *_: gates.clear())]
    handles += [
        module.register_forward_hook(partial(record, n)) for n, module in attentions.items()
    ]
    try:
        yield gates
    finally:
        for handle in handles:
            handle.remove()


def draw_gates(gates: Mapping[str, Sequence[ArrayLike]], title: str) -> Figure:
    """Draw violins of the gates of each block, with the median marked.

    Args:
        gates: label ('clean', 'snow 3') -> for each block the gates of all images, any shape.
            The violins of several labels are drawn side by side.
        title: title of the figure.
    """
    blocks = len(next(iter(gates.values())))
    with style():
        figure = new_figure(WIDTH, 2.4 + 0.15 * -(-len(gates) // 2))
        axes = figure.add_subplot()
        for i, (label, per_block) in enumerate(gates.items()):
            colour, _ = colours.series(i)
            values = [np.ravel(block) for block in per_block]
            width = 0.85 / len(gates)
            places = np.arange(blocks) + (i - (len(gates) - 1) / 2) * width
            parts = axes.violinplot(values, places, widths=width, showextrema=False, points=200)
            bodies: Any = parts['bodies']
            for body in bodies:
                body.set(facecolor=colour, edgecolor=colour, alpha=0.55, linewidth=0.5)
            axes.plot(places, [np.median(v) for v in values], '_', color=colour, ms=6, label=label)
        axes.set(xlabel='block', ylabel='gate', title=title, xlim=(-0.7, blocks - 0.3))
        axes.set_xticks(range(0, blocks, 1 + (blocks - 1) // 24))
        axes.grid(False, axis='x')
        figure.legend(loc='outside lower center', ncols=2, frameon=False)
    return figure


def change_in_words(clean: Sequence[ArrayLike], corrupted: Sequence[ArrayLike]) -> str:
    """Describe the difference to the clean gates, which violins may hardly show.

    Args:
        clean: for each block the gates of all images, any shape.
        corrupted: the same under a corruption.
    """
    pairs = zip(clean, corrupted, strict=True)
    change = np.concatenate([np.ravel(np.abs(np.subtract(a, b))) for a, b in pairs])
    return f'changed by {change.mean():.1e} on average, {change.max():.1e} at most'


def write_gates(
    subject: Subject,
    pictures: dict[Path, np.ndarray],
    out: str | Path,
    corruptions: Sequence[tuple[str, int]] = (),
    seed: int = 0,
) -> list[Path]:
    """Draw the gates of every block over all images, and write them as CSV.

    Args:
        subject: the network.
        pictures: file -> uint8 RGB.
        out: folder of ``gates.csv``, ``gates.png`` and ``gates.pdf``.
        corruptions: (name, severity), in addition to the clean images.
        seed: seed of the corruptions.

    Returns:
        The files.
    """
    conditions = {'clean': None, **{condition_label(*c): c for c in corruptions}}
    found: dict[str, dict[str, list[np.ndarray]]] = {label: {} for label in conditions}
    rows: list[tuple] = []
    for label, corruption in conditions.items():
        keys = distinct(map(picture_name, pictures))
        for key, (path, picture) in zip(keys, pictures.items(), strict=True):
            image = corrupt_picture(picture, path, *corruption, seed) if corruption else picture
            with record_gates(subject.backbone) as gates:
                subject(subject.prepare(image))
            for name, gate in gates.items():
                block = name.removesuffix('.channel_attention')
                values = gate[0].double().cpu().numpy()
                found[label].setdefault(block, []).append(values)
                rows += [(label, key, block, c, f'{v:.6g}') for c, v in enumerate(values)]
    table = Path(out) / 'gates.csv'
    head = ('condition', 'image', 'block', 'channel', 'gate')
    write_whole(table, tables.as_csv(head, rows))
    per_block = {label: list(blocks.values()) for label, blocks in found.items()}
    clean = per_block.pop('clean')
    per_block = {'clean': clean} | {
        f'{label}: {change_in_words(clean, blocks)}': blocks for label, blocks in per_block.items()
    }
    figure = draw_gates(per_block, f'{subject.name}: channel gates')
    return [table, *save(figure, table.with_suffix(''))]
