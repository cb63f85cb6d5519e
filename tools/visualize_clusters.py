#!/usr/bin/env python
"""Cluster the tokens of a backbone's blocks and draw the clusters on the image (FAN paper, Figures 1, 4, 8, 9)."""

from fan_mm.analysis.cluster_pictures import write_cluster_pictures
from fan_mm.analysis.subject import SIZE, Subject, load_pictures
from fan_mm.cli import run, size, tool_parser, whole
from fan_mm.engine.arguments import add_config_arguments, load_config

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
    add('config', metavar='CONFIG', help='config of mmseg, mmdet or mmpretrain, with any backbone')
    add('checkpoint', metavar='CHECKPOINT', help='weights of the model or of its backbone')
    add('--out', required=True, metavar='DIR', help='output folder')
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
    add(
        '--corruption',
        nargs='+',
        default=[],
        metavar='NAME',
        help='also draw corrupted versions of the image',
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
