"""Table 6: FAN-S-ViT with each channel attention, measured beside what the FAN paper prints.

    python benchmarks/channel_attention.py --size 224 --batch 1

Parameters and FLOPs of the ImageNet classifier's backbone, milliseconds and peak memory of inference
and of a training step. Memory includes the weights (on a CPU: Linux only). The paper does not specify the
batch size and the kind of step for which its memory was measured.
"""

from collections.abc import Callable

import torch
from measuring import add_machine, least_seconds, machine, peak_memory
from rich.console import Console
from rich.table import Table

from fan_mm.analysis.complexity import measure_complexity
from fan_mm.cli import run, tool_parser
from fan_mm.models import FANViT

# memory (M), ImageNet top-1, ImageNet-C (%)
PUBLISHED = {'csa': (235, 81.3, 61.7), 'se': (126, 81.2, 62.0), 'eca': (127, 82.5, 64.6)}


def steps(model: FANViT, images: torch.Tensor) -> dict[str, Callable[[], None]]:
    """Inference and a training step without its optimizer."""

    @torch.inference_mode()
    def inference() -> None:
        model.eval()(images)

    def training() -> None:
        model.train()(images)[0].square().mean().backward()
        model.zero_grad(set_to_none=True)

    return {'inference': inference, 'training': training}


def main() -> None:
    """Print the table."""
    parser = tool_parser(__doc__, '')
    parser.add_argument('--arch', default='small', choices=list(FANViT.arch_zoo))
    parser.add_argument('--size', type=int, default=224)
    parser.add_argument('--batch', type=int, default=1)
    add_machine(parser)
    args = parser.parse_args()
    device, where = machine(args)
    table = Table(title=f'FAN-ViT {args.arch}, batch {args.batch}, {args.size} pixels, {where}')
    for column in (
        'attention', 'parameters, M', 'FLOPs, G', 'inference, ms', 'MiB', 'training, ms', 'MiB',
        'paper: memory, M', 'IN-1K', 'IN-C',
    ):  # fmt: skip
        table.add_column(column, justify='right')
    images = torch.randn(args.batch, 3, args.size, args.size)
    for kind, published in PUBLISHED.items():
        torch.manual_seed(0)
        model = FANViT(args.arch, out_type='cls_token', channel_attention=kind)
        found = measure_complexity(model, images[:1])
        weights = 4 * found.parameters['']
        cells = [kind, f'{found.parameters[""] / 1e6:.2f}', f'{found.flops[""] / 1e9:.2f}']
        for step in steps(model.to(device), images.to(device)).values():
            step()  # warm-up: kernel selection
            peak = weights + peak_memory(step, device)
            best = least_seconds({kind: step}, args.rounds, device)[kind]
            cells += [f'{1e3 * best:.0f}', f'{peak / 2**20:.0f}']
        table.add_row(*cells, *map(str, published))
    Console(width=130).print(table)


if __name__ == '__main__':
    run(main)
