#!/usr/bin/env python
"""Evaluate a checkpoint with any config: ours, or one of mmseg, mmpretrain or mmdet."""

from fan_mm.cli import number, run, tool_parser, writable_folder
from fan_mm.engine.arguments import add_run_arguments, load_config
from fan_mm.jobs.training import test
from fan_mm.options import add_amp, add_model
from fan_mm.stopping import telling

EXAMPLE = """example, after that of tools/train.py:
  python tools/test.py configs/fan_hybrid_toy_cityscapes.py \\
      work_dirs/fan_hybrid_toy_cityscapes/iter_3200.pth --show-dir painted
"""


def main() -> None:
    """Parse the command line and test."""
    parser = tool_parser(__doc__, EXAMPLE)
    add_model(parser)
    add_run_arguments(parser)
    parser.add_argument(
        '--out', help='write predictions: for mmseg a folder of label maps, else a .pkl file'
    )
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument(
        '--show-dir',
        type=writable_folder,
        metavar='DIR',
        help='write images with predictions to DIR',
    )
    parser.add_argument(
        '--wait-time',
        type=number(0),
        default=2,
        metavar='SECONDS',
        help='time between two windows (default: %(default)s)',
    )
    parser.add_argument('--tta', action='store_true', help='use test-time augmentation')
    add_amp(parser)
    args = parser.parse_args()
    with telling(lambda: 'a test cannot be resumed; start it again'):
        test(
            load_config(args),
            args.checkpoint,
            args.launcher,
            out=args.out,
            show=args.show,
            show_dir=args.show_dir,
            wait_time=args.wait_time,
            tta=args.tta,
            amp=args.amp,
        )


if __name__ == '__main__':
    run(main)
