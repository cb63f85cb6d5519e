#!/usr/bin/env python
"""Evaluate the corruption robustness of any mmpretrain, mmseg or mmdet model."""

from pathlib import Path

from fan_mm.cli import run, tool_parser, whole

# isort: split
from mmengine.dist import is_main_process

from fan_mm.corruptions import BENCHMARK_ORDERS, BENCHMARKS
from fan_mm.engine.arguments import add_calibration_arguments, add_run_arguments, load_config
from fan_mm.evaluation.loading.image_cache import AUTO
from fan_mm.evaluation.sweep import ON_ERROR
from fan_mm.jobs.robustness import (
    evaluate_robustness,
    failed_cells,
    findings_text,
    summary_text,
)
from fan_mm.options import (
    add_amp,
    add_benchmark,
    add_channel_order,
    add_model,
    add_overwrite,
    add_sweep_options,
)

EXAMPLE = """example, on the toy dataset:
  python tools/make_toy_dataset.py cityscapes data/toy_cityscapes --size 128x256 --train 1500 --val 32
  python tools/train.py configs/fan_hybrid_toy_cityscapes.py
  python tools/test_corruption.py configs/fan_hybrid_toy_cityscapes.py \\
      work_dirs/fan_hybrid_toy_cityscapes/iter_3200.pth --benchmark all --severities 3

If the sweep is interrupted at any point, the same command continues where it stopped.
"""


def main() -> int:
    """Parse the command line, run the sweep, print its results."""
    parser = tool_parser(__doc__, EXAMPLE)
    add_model(parser)
    add_run_arguments(parser, './work_dirs/CONFIG_NAME/robustness')
    sources = {name: benchmark.source for name, benchmark in BENCHMARKS.items()}
    add_benchmark(parser, sources, 'dataset, else all')
    parser.add_argument(
        '--corrupted-root',
        metavar='DIR',
        help='read corrupted images written by make_corrupted_dataset.py or the official scripts',
    )
    parser.add_argument('--seed', type=int, help='seed of the corruptions (default: 0)')
    add_channel_order(parser, BENCHMARK_ORDERS, None)
    add_sweep_options(parser, ON_ERROR)
    add_amp(parser)
    parser.add_argument(
        '--image-cache',
        default=AUTO,
        metavar='auto|off|DIR',
        help='load each image once and keep it for all cells: auto (in memory or the temporary folder, if there '
        'is plenty of space), off, or in DIR (default: %(default)s)',
    )
    add_calibration_arguments(parser)
    parser.add_argument(
        '--audit-colours',
        type=whole(0),
        default=0,
        metavar='N',
        help='also evaluate N clean images (2 or more) with red and blue swapped, to see if the score rises',
    )
    add_overwrite(parser)
    args = parser.parse_args()
    cfg = load_config(args)
    work_dir = Path(args.work_dir) if args.work_dir else Path(cfg.work_dir, 'robustness')
    results = evaluate_robustness(
        cfg,
        args.checkpoint,
        work_dir,
        args.launcher,
        args.save_images,
        args.amp,
        benchmark=args.benchmark,
        corruptions=args.corruptions,
        severities=args.severities,
        corrupted_root=args.corrupted_root,
        seed=args.seed,
        channel_order=args.channel_order,
        max_samples=args.max_samples,
        calibration=args.calibration,
        fit_temperature=args.fit_temperature,
        on_error=args.on_error,
        image_cache=args.image_cache,
        audit_colours=args.audit_colours,
        overwrite=args.overwrite,
    )
    failed = failed_cells(results)
    if is_main_process():
        print(summary_text(results))
        for line in failed:
            print(f'no result: {line}')
        for line in findings_text(results):
            print(line)
        print(f'report: {work_dir / "report.html"}')
    return 1 if failed else 0


if __name__ == '__main__':
    run(main)
