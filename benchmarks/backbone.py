"""Time our backbones against the literal reference of `tests/reference`, and their peak memory.

    python benchmarks/backbone.py --arch fan_hybrid:small --size 224 512 1024
    python benchmarks/backbone.py --arch fan_vit:tiny fan_swin:tiny --size 512x1024 --train

The reference implements docs/specification.md literally with plain PyTorch functions: explicit
softmax(QK^T)V, permuted copies around convolutions. Both compute the four maps of a dense model from the
same weights and images, alternating within each round; the reported time is the minimum over all rounds.
There are rows for bfloat16 (autocast) and, on a GPU, for torch.compile. Peak memory is the memory of a run
beyond the weights and what was in use before (on a CPU: Linux only).

    python benchmarks/backbone.py --roofline --size 224 --batch 8 --train

prints instead, for a CPU, the GFLOP/s of the whole model and of the ten most expensive operations, compared with
the machine's fastest matrix product in float32 and bfloat16; ``--peers`` compares timm's models of similar size
at 224.
"""

import argparse
from collections.abc import Callable

import torch
from measuring import add_machine, backbone_of, least_seconds, machine, peak_memory, step
from operations import best_copy, best_product, roofline
from peers import peers_table
from reference import fan, fan_swin
from rich.console import Console
from rich.table import Table
from torch import Tensor

from fan_mm.cli import run, size, tool_parser
from fan_mm.models.checkpoints import to_official


def build(
    name: str, **options: object
) -> tuple[torch.nn.Module, Callable[[Tensor], list[Tensor]], dict]:
    """Our backbone, the reference with the same weights as a function, and its parameters."""
    kind, backbone, arch = backbone_of(name)
    zoo = backbone.arch_zoo.get(arch, {})
    depth = zoo.get('depth', 0)
    taps = (
        (depth // 3, depth * 2 // 3, depth - 1)
        if kind == 'fan_vit'
        else (zoo.get('tap', depth - 1),)
    )
    out_indices = (*taps, depth) if kind == 'fan_vit' else (0, 1, 2, 3)
    torch.manual_seed(0)
    ours = backbone(arch, out_indices=out_indices, **options)
    # The reference supports only whole models: like the official one, it has the class token.
    state = ours.state_dict()
    if kind != 'fan_swin':
        state = {**backbone(arch, out_type='raw').state_dict(), **state}
    state = {to_official(key): value.clone() for key, value in state.items()}
    heads = zoo['num_heads'], (zoo.get('widen') or zoo)['num_heads']

    def reference(images: Tensor) -> list[Tensor]:
        with images.device:  # where its constants are made
            if kind == 'fan_swin':
                return fan_swin.forward(state, images, training=ours.training)
            return fan.forward(state, images, heads, taps, training=ours.training)[0]

    return ours, reference, state


def steps(
    ours: torch.nn.Module, reference: Callable, state: dict, images: Tensor, train: bool
) -> dict[str, Callable[[], object]]:
    """What is timed, by name: a forward pass of four maps, or a whole training step of them."""
    device = images.device.type
    ours.to(device).train(train)
    for key, value in state.items():
        state[key] = value.to(device)
        if train and value.is_floating_point() and 'running' not in key:
            state[key].requires_grad_()
    weights = [value for value in state.values() if value.requires_grad]
    own = [parameter for parameter in ours.parameters() if parameter.requires_grad]
    named = {
        'reference': step(reference, weights, images, train, False),
        'ours': step(ours, own, images, train, False),
    }
    if device == 'cpu' and not train:
        named['ours, bfloat16'] = step(ours, own, images, train, True)
    if device == 'cuda':
        torch._dynamo.reset()  # it limits the number of compilations per function
        compiled = torch.compile(ours, dynamic=False)
        named |= {
            'reference, bfloat16': step(reference, weights, images, train, True),
            'ours, bfloat16': step(ours, own, images, train, True),
            'ours, compiled': step(compiled, own, images, train, False),
            'ours, compiled, bfloat16': step(compiled, own, images, train, True),
        }
    return named


def captured(work: Callable[[], object]) -> Callable[[], object]:
    """The kernels of a call as a CUDA graph, which is replayed without waiting for Python."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def main() -> None:
    """Print one table per size."""
    parser = tool_parser(__doc__, '')
    parser.add_argument('--arch', nargs='+', default=['fan_hybrid:small'], metavar='BACKBONE:SIZE')
    parser.add_argument('--size', type=size, nargs='+', default=[(512, 512)], metavar='H[xW]')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--train', action='store_true', help='a training step with AdamW')
    add_machine(parser)
    parser.add_argument('--roofline', action='store_true', help='the costliest operations of a CPU')
    parser.add_argument('--peers', action='store_true', help="timm's models beside ours")
    args = parser.parse_args()
    device, where = machine(args)

    if args.peers:
        Console(width=120).print(peers_table(args.batch, args.train, device, args.rounds))
        return
    if args.roofline:
        print_rooflines(args)
        return
    what = 'training step' if args.train else 'inference'
    for height, width in args.size:
        shape = (args.batch, 3, height, width)
        table = Table(title=f'{what}, batch {shape[0]}, {shape[2]} x {shape[3]}, {where}')
        table.add_column('backbone')
        for column in ('ms', 'times faster', 'images/s', 'peak memory, MiB', 'largest difference'):
            table.add_column(column, justify='right')
        for arch in args.arch:
            ours, reference, state = build(arch)
            images = torch.randn(shape, device=device)
            named = steps(ours, reference, state, images, args.train)
            differences = compare(named) if not args.train else {}
            for work in named.values():
                work()  # warm-up: compilation, kernel selection
            peaks = {name: peak_memory(work, device) for name, work in named.items()}
            seconds = least_seconds(named, args.rounds, device)
            for name in named:
                table.add_row(
                    f'{arch}, {name}',
                    f'{1e3 * seconds[name]:.1f}',
                    f'{seconds["reference"] / seconds[name]:.2f}',
                    f'{args.batch / seconds[name]:.1f}',
                    f'{peaks[name] / 2**20:.0f}',
                    f'{differences[name]:.1e}' if name in differences else '',
                )
            table.add_section()
            if 'ours, bfloat16' in seconds:
                ratio = seconds['ours'] / seconds['ours, bfloat16']
                table.add_row('', '', '', '', '', f'bfloat16 {ratio:.2f} x float32')
                table.add_section()
        Console(width=120).print(table)


def print_rooflines(args: argparse.Namespace) -> None:
    """Print what the operations of each backbone reach, in float32 and, in inference, bfloat16."""
    ceilings = f'the best copy does {best_copy() / 1e9:.1f} GB/s'
    for name, dtype in (('float32', torch.float32), ('bfloat16', torch.bfloat16)):
        rate, product = best_product(dtype)
        ceilings += f'; the best product in {name} {rate / 1e9:.0f} GFLOP/s ({product})'
    for arch in args.arch:
        for height, width in args.size:
            for half in (False,) if args.train else (False, True):
                ours, _, _ = build(arch)
                ours.train(args.train)
                images = torch.randn(args.batch, 3, height, width)
                own = [p for p in ours.parameters() if p.requires_grad]
                work = step(ours, own, images, args.train, half)
                work()
                title = (
                    f'{arch}, {"training step" if args.train else "inference"}, batch {args.batch}, {height} x '
                    f'{width}, {"bfloat16" if half else "float32"}, {torch.get_num_threads()} threads'
                )
                Console(width=120).print(roofline(title, work, args.rounds, ceilings))


def compare(named: dict[str, Callable]) -> dict[str, float]:
    """Largest difference of each one's maps from the reference's."""
    expected = named['reference']()
    return {
        name: max(
            (x.float() - y.float()).abs().max().item()
            for x, y in zip(work(), expected, strict=True)
        )
        for name, work in named.items()
        if name != 'reference'
    }


if __name__ == '__main__':
    run(main)
