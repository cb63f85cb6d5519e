#!/usr/bin/env python
"""Cluster the tokens of a backbone's blocks and draw the clusters on the image (FAN paper, Figures 1, 4, 8, 9)."""

from fan_mm.analysis.cluster_pictures import write_cluster_pictures
from fan_mm.analysis.subject import SIZE, Subject, load_pictures
from fan_mm.cli import run, tool_parser, whole
from fan_mm.engine.arguments import add_config_arguments, load_config
from fan_mm.options import (
    add_drawn_corruptions,
    add_feature_model,
    add_features_size,
    add_output_folder,
)

EXAMPLE = """example, after `bash tools/quickstart.sh`:
  python tools/visualize_clusters.py \\
      data/toy_cityscapes/leftImg8bit/val/toyhafen/toyhafen_000001_000000_leftImg8bit.png \\
      configs/fan_hybrid_toy_cityscapes.py work_dirs/quickstart_segmentation/iter_3200.pth \\
      --size 256x512 --blocks 2 3 -2 --corruption snow --out work_dirs/clusters
"""


def clusters(text: str) -> int | None:
    """A number of clusters; None for 'auto'."""
    return None if text == 'auto' else whole(2)(text)


def main() -> None:
    """Parse the command line and draw."""
    parser = tool_parser(__doc__, EXAMPLE)
    add = parser.add_argument
    add('images', nargs='+', metavar='IMAGE', help='image files or folders')
    add_feature_model(parser, 'config file of mmseg, mmdet or mmpretrain, with any backbone')
    add_output_folder(parser)
    add(
        '--blocks',
        nargs='+',
        default=['-2'],
        metavar='BLOCK',
        help='block indices, from 0 or, if negative, from the end, or module names, one row each '
        '(default: -2, the second last block, as in the paper)',
    )
    add(
        '--clusters',
        type=clusters,
        default=None,
        metavar='K',
        help='number of clusters, or auto: from the largest gap of the eigenvalues (default)',
    )
    add_drawn_corruptions(parser)
    add_features_size(parser, SIZE)
    add_config_arguments(parser)
    args = parser.parse_args()
    pictures = load_pictures(args.images, args.size)
    for line in write_cluster_pictures(
        Subject(load_config(args), args.checkpoint),
        pictures,
        args.out,
        args.blocks,
        args.clusters,
        [(name, args.severity) for name in args.corruption],
        args.seed,
    ):
        print(line)


if __name__ == '__main__':
    run(main)
