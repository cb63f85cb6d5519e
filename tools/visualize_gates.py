#!/usr/bin/env python
"""Draw the distribution of the channel-attention gates in each block of a FAN."""

from fan_mm.analysis.gates import write_gates
from fan_mm.analysis.subject import SIZE, Subject, load_pictures
from fan_mm.cli import run, size, tool_parser, whole
from fan_mm.engine.arguments import add_config_arguments, load_config

EXAMPLE = """example, after `bash tools/quickstart.sh`:
  python tools/visualize_gates.py data/toy_cityscapes/leftImg8bit/val \\
      configs/fan_hybrid_toy_cityscapes.py work_dirs/quickstart_segmentation/iter_3200.pth \\
      --count 8 --size 128x256 --corruption snow --out work_dirs/gates
"""


def main() -> None:
    """Parse the command line and draw."""
    parser = tool_parser(__doc__, EXAMPLE)
    add = parser.add_argument
    add('images', nargs='+', metavar='IMAGE', help='image files or folders')
    add('config', metavar='CONFIG', help='config of a model with a FAN backbone')
    add('checkpoint', metavar='CHECKPOINT', help='weights of the model or of its backbone')
    add('--out', required=True, metavar='DIR', help='folder for the figure and the CSV')
    add(
        '--count',
        type=whole(1),
        default=16,
        metavar='N',
        help='number of images, evenly spaced (default: 16)',
    )
    add(
        '--corruption',
        nargs='+',
        default=[],
        metavar='NAME',
        help='also draw corrupted versions of the images',
    )
    add(
        '--severity',
        type=whole(1, 5),
        default=3,
        help='severity of the corruptions, 1 to 5 (default: 3)',
    )
    add('--seed', type=int, default=0, help='seed of the corruptions (default: 0)')
    add(
        '--size',
        type=size,
        default=SIZE,
        metavar='HxW',
        help='size to which images are resized (default: 448x448)',
    )
    add_config_arguments(parser)
    args = parser.parse_args()
    for file in write_gates(
        Subject(load_config(args), args.checkpoint),
        load_pictures(args.images, args.size, args.count),
        args.out,
        [(name, args.severity) for name in args.corruption],
        args.seed,
    ):
        print(f'wrote {file}')


if __name__ == '__main__':
    run(main)
