#!/usr/bin/env python
"""What calibration costs: its share of the wall time of a sweep's cells.

This is the time in the metric, including synchronisation with the device, divided by the time of the cells in the
same run, so that a busy machine slows both. The model is that of ``benchmarks/sweep.py``; with a larger one the
share is smaller.

    python benchmarks/calibration.py --depth 18 --size 128x256 1024x2048
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from sweep import config, write_dataset

from fan_mm.cli import run, tool_parser
from fan_mm.evaluation import RobustnessSweep
from fan_mm.evaluation.calibration.temperature import Temperature


def share(size: str, args: argparse.Namespace, temperature: float | None) -> tuple[float, float]:
    """Seconds within the metric, and of the cells, per image."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, 'cityscapes')
        write_dataset(root, args.images, tuple(int(v) for v in size.split('x')))
        cfg = config(root, args.workers, args.depth)
        torch.manual_seed(0)
        model = MODELS.build(cfg.model).to(args.device).eval()
        sweep = RobustnessSweep(
            model, cfg.loader, cfg.evaluator, corruptions=['fog'], severities=[3], calibration=True
        )
        if temperature:
            sweep.calibration.use(Temperature(temperature, 0, 0, (0.0, 0.0)))
        spent = 0.0
        process = sweep.calibration.metric.process

        def timed(*arguments: object) -> None:
            nonlocal spent
            wait(args.device)
            start = time.perf_counter()
            process(*arguments)
            wait(args.device)
            spent += time.perf_counter() - start

        sweep.calibration.metric.process = timed
        # Without a fitted temperature, the results have no place for scaled values.
        sweep.calibration.into = lambda *_: None
        cells = sweep.run()['cells']
        images = sum(cell['samples'] for cell in cells)
        return spent / images, sum(cell['seconds'] for cell in cells) / images


def wait(device: str) -> None:
    """Until the device has done what it was told."""
    if device.startswith('cuda'):
        torch.cuda.synchronize()


def main() -> None:
    """Print the share for each size, without and with a temperature."""
    parser = tool_parser(__doc__, '')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--size', nargs='+', default=['128x256', '1024x2048'], help='HxW')
    parser.add_argument('--images', type=int, default=8, help='(%(default)s)')
    parser.add_argument('--workers', type=int, default=1, help='of the loader (%(default)s)')
    parser.add_argument('--depth', type=int, default=18, help='of the ResNet (%(default)s)')
    parser.add_argument('--rounds', type=int, default=3, help='the least share (%(default)s)')
    args = parser.parse_args()

    import mmseg.datasets
    import mmseg.evaluation
    import mmseg.models  # noqa: F401  (registration)

    init_default_scope('mmseg')
    MMLogger.get_instance('benchmark').setLevel('ERROR')
    print(f'{args.device}, {torch.get_num_threads()} threads, ResNet-{args.depth}, 19 classes')
    for size in args.size:
        for what, temperature in (('plain', None), ('and with a temperature', 1.5)):
            found = [share(size, args, temperature) for _ in range(args.rounds)]
            spent, whole = min(found, key=lambda pair: pair[0] / pair[1])
            print(
                f'{size} {what}: {1000 * spent:.1f} of {1000 * whole:.1f} ms an image, '
                f'{100 * spent / whole:.1f} %'
            )


if __name__ == '__main__':
    run(main)
