#!/usr/bin/env python
"""Train any config: ours, or one of mmseg, mmpretrain or mmdet."""

from fan_mm.cli import run, tool_parser
from fan_mm.engine.arguments import add_run_arguments, load_config
from fan_mm.jobs.training import train
from fan_mm.options import add_amp, add_config

EXAMPLE = """example, on the toy dataset:
  python tools/make_toy_dataset.py cityscapes data/toy_cityscapes --size 128x256 --train 1500 --val 32
  python tools/train.py configs/fan_hybrid_toy_cityscapes.py
"""


def main() -> None:
    """Parse the command line and train."""
    parser = tool_parser(__doc__, EXAMPLE)
    add_config(parser)
    add_run_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='FILE',
        help='resume from a checkpoint; without FILE, from the newest one in the work dir',
    )
    add_amp(parser)
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate with the total batch size',
    )
    args = parser.parse_args()
    train(load_config(args), args.launcher, args.resume, args.amp, args.auto_scale_lr)


if __name__ == '__main__':
    run(main)
