#!/usr/bin/env python
"""Evaluate an ImageNet classifier out of distribution: a row of the FAN paper's Table 11."""

from pathlib import Path

from fan_mm.cli import run, tool_parser

# isort: split
from mmengine.dist import is_main_process

from fan_mm.engine.arguments import add_calibration_arguments, add_run_arguments, load_config
from fan_mm.errors import InputError
from fan_mm.jobs.ood import FILE, TEST_SETS, evaluate_ood, missing_values, table_row
from fan_mm.stopping import telling

EXAMPLE = """example:
  python tools/convert_checkpoint.py fan_hybrid_small.pth.tar fan_s.pth
  python tools/test_ood.py configs/fan_hybrid_s_imagenet.py fan_s.pth \\
      --imagenet-a data/imagenet-a --imagenet-r data/imagenet-r --imagenet-c data/imagenet-c
without data, the clean part on the embedded dataset:
  python tools/test_ood.py configs/fan_hybrid_toy_imagenet.py \\
      work_dirs/fan_hybrid_toy_imagenet/epoch_20.pth

As the released scripts evaluate, ImageNet-A is read at 384 pixels (STL's script: --size
imagenet_a=224), and averaged weights are used for ImageNet-R alone (--weights clean=ema).
"""


def pairs(texts: list[str]) -> dict[str, str]:
    """Read NAME=VALUE arguments."""
    found = dict(text.partition('=')[::2] for text in texts)
    if not all(found.values()):
        raise InputError(f'{" ".join(texts)}: write NAME=VALUE, such as imagenet_a=224')
    return {name.replace('-', '_'): value for name, value in found.items()}


def main() -> int:
    """Parse the command line, evaluate, print the row; return 1 if a value is missing."""
    parser = tool_parser(__doc__, EXAMPLE)
    parser.add_argument('config', help='config file of mmpretrain')
    parser.add_argument(
        'checkpoint',
        help='weights, converted ones or a released file; or a file of tools/export.py',
    )
    add_run_arguments(parser, './work_dirs/CONFIG_NAME/ood')
    for name in TEST_SETS[1:]:
        parser.add_argument(f'--{name.replace("_", "-")}', metavar='DIR', help='folder of this set')
    parser.add_argument(
        '--size', nargs='+', default=[], metavar='SET=PIXELS', help='input size of test sets'
    )
    parser.add_argument(
        '--weights', nargs='+', default=[], metavar='SET=KIND', help='ema or model for test sets'
    )
    add_calibration_arguments(parser)
    parser.add_argument('--no-clean', action='store_true', help='leave the clean set out')
    parser.add_argument(
        '--overwrite', action='store_true', help='forget the sweep over ImageNet-C in the work dir'
    )
    args = parser.parse_args()
    cfg = load_config(args)
    work_dir = Path(args.work_dir) if args.work_dir else Path(cfg.work_dir, 'ood')
    sizes = pairs(args.size)
    if not all(value.isascii() and value.isdigit() for value in sizes.values()):
        raise InputError(f'--size {" ".join(args.size)}: pixels are whole numbers')
    with telling(lambda: 'the same command begins again, but for the cells of ImageNet-C'):
        results = evaluate_ood(
            cfg,
            args.checkpoint,
            {name: folder for name in TEST_SETS[1:] if (folder := getattr(args, name))},
            work_dir,
            args.launcher,
            {name: int(value) for name, value in sizes.items()},
            pairs(args.weights),
            not args.no_clean,
            args.overwrite,
            args.calibration,
            args.fit_temperature,
        )
    missing = missing_values(results)
    if is_main_process():
        print(table_row(results))
        for value in missing:
            print(f'no result: {value}')
        print(f'results: {work_dir / FILE}')
    return 1 if missing else 0


if __name__ == '__main__':
    run(main)
