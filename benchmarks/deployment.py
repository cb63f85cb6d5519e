"""What an exported model costs beside PyTorch: images per second and memory, as ratios in one run.

    python benchmarks/deployment.py --arch fan_hybrid:small --size 512
    python benchmarks/deployment.py --arch fan_vit:tiny fan_hybrid:tiny --size 224 --batch 8

A classifier with random weights, exported by ``fan_mm.deploy`` as ONNX in float32, half precision and int8
(calibrated on noise, which is sufficient for speed, not for accuracy). All are timed in turn within each round;
the reported time is the minimum over all rounds. Memory is the peak while a model is loaded and run once, beyond
what was in use before (Linux only). Everything runs on the CPU, where onnxruntime has few float16 kernels and
computes most of fp16 in float32.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from measuring import backbone_of, least_seconds, peak_memory
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from fan_mm.cli import run, size, tool_parser
from fan_mm.deploy import Network, export_onnx, require_onnx, to_half, to_int8
from fan_mm.engine.onnx_file import open_session, run_session

CALIBRATION = 8


class Head(nn.Linear):
    """Scores of the last of some features."""

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        """(B, 1000)."""
        return super().forward(features[-1])


class Classifier(nn.Module):
    """A backbone and a linear layer, with the attributes that `Network` requires."""

    def __init__(self, name: str) -> None:
        super().__init__()
        _, backbone, arch = backbone_of(name)
        torch.manual_seed(0)
        self.backbone = backbone(arch, out_type='avg_featmap')
        self.head = Head(self.backbone.out_channels[-1], 1000)

    def extract_feat(self, images: Tensor) -> tuple[Tensor, ...]:
        """The average of the last map."""
        return self.backbone(images)


def write_models(name: str, folder: Path, height: int, width: int, batch: int) -> dict[str, Path]:
    """A network and its three graphs, each in a file."""
    import onnx

    network = Network(Classifier(name), 'classification')
    graph = export_onnx(network, (height, width), batch=batch)
    noise = [network.example(batch, height, width, seed) for seed in range(CALIBRATION)]
    graphs = {'fp32': graph, 'fp16': to_half(graph)[0], 'int8': to_int8(graph, noise)[0]}
    files = {'PyTorch fp32': folder / 'model.pth'}
    torch.save(network.state_dict(), files['PyTorch fp32'])
    for precision, proto in graphs.items():
        files[f'ONNX {precision}'] = folder / f'{precision}.onnx'
        onnx.save(proto, str(folder / f'{precision}.onnx'))
    return files


def load(name: str, file: Path, images: Tensor) -> Callable[[], object]:
    """Read a model; a function that runs it."""
    if file.suffix == '.onnx':
        session = open_session(file)
        return lambda: run_session(session, images)
    network = Network(Classifier(name), 'classification')
    network.load_state_dict(torch.load(file, weights_only=True))

    def work() -> object:
        with torch.inference_mode():
            return network(images)

    return work


def main() -> None:
    """Print one table per size."""
    parser = tool_parser(__doc__, '')
    parser.add_argument('--arch', nargs='+', default=['fan_hybrid:small'], metavar='BACKBONE:SIZE')
    parser.add_argument('--size', type=size, nargs='+', default=[(224, 224)], metavar='H[xW]')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--threads', type=int, default=None, help='default: all')
    parser.add_argument('--rounds', type=int, default=5, help='default: 5')
    args = parser.parse_args()
    require_onnx()
    if args.threads:
        torch.set_num_threads(args.threads)
    for height, width in args.size:
        table = Table(
            title=f'batch {args.batch}, {height} x {width}, {torch.get_num_threads()} threads'
        )
        table.add_column('')
        for column in ('images/s', 'ratio', 'peak memory, MiB', 'ratio', 'file, MiB'):
            table.add_column(column, justify='right')
        for arch in args.arch:
            with tempfile.TemporaryDirectory() as folder:
                add_rows(table, arch, Path(folder), (args.batch, 3, height, width), args.rounds)
        Console(width=120).print(table)


def add_rows(table: Table, arch: str, folder: Path, shape: tuple, rounds: int) -> None:
    """A row for each of an architecture's models, with ratios to PyTorch."""
    images = torch.randn(shape)
    files = write_models(arch, folder, *shape[2:], shape[0])
    peaks = {
        kind: peak_memory(lambda file=file: load(arch, file, images)(), 'cpu')
        for kind, file in files.items()
    }
    works = {kind: load(arch, file, images) for kind, file in files.items()}
    for work in works.values():
        work()
    seconds = least_seconds(works, rounds, 'cpu')
    first = next(iter(files))
    for kind, file in files.items():
        table.add_row(
            f'{arch}, {kind}',
            f'{shape[0] / seconds[kind]:.1f}',
            f'{seconds[first] / seconds[kind]:.2f}',
            f'{peaks[kind] / 2**20:.0f}',
            f'{peaks[kind] / max(peaks[first], 1):.2f}',
            f'{file.stat().st_size / 2**20:.1f}',
        )
    table.add_section()


if __name__ == '__main__':
    run(main)
