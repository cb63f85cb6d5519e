#!/usr/bin/env python
"""Draw the distribution of the channel-attention gates in each block of a FAN."""

from fan_mm.analysis.gates import write_gates
from fan_mm.analysis.subject import SIZE, Subject, load_pictures
from fan_mm.cli import run, tool_parser
from fan_mm.engine.arguments import add_config_arguments, load_config
from fan_mm.options import (
    add_count,
    add_drawn_corruptions,
    add_feature_model,
    add_features_size,
    add_output_folder,
)

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
    add_feature_model(parser, 'config file of a model with a FAN backbone')
    add_output_folder(parser)
    add_count(parser, 16)
    add_drawn_corruptions(parser)
    add_features_size(parser, SIZE)
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
