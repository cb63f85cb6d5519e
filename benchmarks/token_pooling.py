"""What token pooling (TAP) and attention diversification (ADL) cost, as ratios side by side.

    python benchmarks/token_pooling.py --arch fan_hybrid:small --size 1024
    python benchmarks/token_pooling.py --arch fan_hybrid:tiny fan_vit:small --size 512x1024 --only adl

TAP: a forward pass of the dense maps with 4 scales, compared with one without pooling. ADL: a training step
(forward, backward, AdamW) with the loss, compared with one without, both with pooling. Each pair is timed in
turn within each round; the reported time is the minimum over all rounds. Peak memory is the memory of a run
beyond the weights and what was in use before (on a CPU: Linux only).
"""

from collections.abc import Callable

import torch
from measuring import add_machine, backbone_of, least_seconds, machine, peak_memory
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from fan_mm.cli import run, size, tool_parser
from fan_mm.models.losses import AttentionDiversity

SCALES = 4


def build(name: str, device: str, token_pooling: int | None) -> nn.Module:
    """A backbone with its dense maps."""
    kind, backbone, arch = backbone_of(name, ('fan_vit', 'fan_hybrid'))
    torch.manual_seed(0)
    out_indices = -1 if kind == 'fan_vit' else (0, 1, 2, 3)
    return backbone(arch, token_pooling=token_pooling, out_indices=out_indices).to(device)


def inference(model: nn.Module, images: Tensor) -> Callable[[], object]:
    """A forward pass."""
    model.eval()

    def work() -> object:
        with torch.inference_mode():
            return model(images)

    return work


def training(model: nn.Module, images: Tensor, adl: bool, half: bool) -> Callable[[], None]:
    """A training step, of which the squared maps are the task."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    diversity = AttentionDiversity(model) if adl else None

    def work() -> None:
        if adl:
            diversity.start()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=half):
            loss = sum(x.float().square().mean() for x in model(images))
        if adl:
            loss = loss + diversity.loss()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return work


def compare(
    table: Table, names: tuple[str, str], works: tuple[Callable, Callable], rounds: int, device: str
) -> None:
    """Add a row for each of the two, with ratios in the second."""
    named = dict(zip(names, works, strict=True))
    for work in works:
        work()  # warm-up: kernel selection, memory pages
    peaks = {name: peak_memory(work, device) for name, work in named.items()}
    seconds = least_seconds(named, rounds, device)
    without = names[0]
    for name in names:
        table.add_row(
            name,
            f'{1e3 * seconds[name]:.1f}',
            f'{seconds[name] / seconds[without]:.2f}',
            f'{peaks[name] / 2**20:.0f}',
            f'{peaks[name] / max(peaks[without], 1):.2f}',
        )
    table.add_section()


def main() -> None:
    """Print one table per size."""
    parser = tool_parser(__doc__, '')
    parser.add_argument('--arch', nargs='+', default=['fan_hybrid:small'], metavar='BACKBONE:SIZE')
    parser.add_argument('--size', type=size, nargs='+', default=[(1024, 1024)], metavar='H[xW]')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--only', choices=('tap', 'adl'), default=None, help='default: both')
    parser.add_argument('--amp', action='store_true', help='train in bfloat16')
    add_machine(parser)
    args = parser.parse_args()
    device, where = machine(args)
    for height, width in args.size:
        shape = (args.batch, 3, height, width)
        tokens = height // 16 * (width // 16)
        table = Table(title=f'batch {args.batch}, {height} x {width}, {tokens} tokens, {where}')
        table.add_column('')
        for column in ('ms', 'ratio', 'peak memory, MiB', 'ratio'):
            table.add_column(column, justify='right')
        for arch in args.arch:
            images = torch.randn(shape, device=device)
            if args.only != 'adl':
                models = [build(arch, device, scales) for scales in (None, SCALES)]
                works = tuple(inference(model, images) for model in models)
                names = f'{arch}, inference', 'with token pooling'
                compare(table, names, works, args.rounds, device)
            if args.only != 'tap':
                works = tuple(
                    training(build(arch, device, SCALES), images, adl, args.amp)
                    for adl in (False, True)
                )
                names = f'{arch}, training step', 'with attention diversification'
                compare(table, names, works, args.rounds, device)
        Console(width=120).print(table)


if __name__ == '__main__':
    run(main)
