#!/usr/bin/env python
"""Write an embedded toy dataset: rendered street scenes in the layout of a well-known dataset."""

import argparse
import re
from collections.abc import Iterable

from rich.progress import track

from fan_mm.cli import run
from fan_mm.datasets.scenes import write_cityscapes, write_coco, write_imagenet

EXAMPLE = """examples:
  python tools/make_toy_dataset.py cityscapes data/toy_cityscapes --size 256x512 --train 200 --val 40
  python tools/make_toy_dataset.py coco data/toy_coco --size 192x256 --train 600 --val 60
  python tools/make_toy_dataset.py imagenet data/toy_imagenet --size 80x80 --train 3000 --val 400
"""
WRITERS = {'cityscapes': write_cityscapes, 'coco': write_coco, 'imagenet': write_imagenet}


def size(text: str) -> tuple[int, int]:
    """Read HEIGHTxWIDTH."""
    if not re.fullmatch(r'\d+x\d+', text):
        raise argparse.ArgumentTypeError(f'{text!r} is not HEIGHTxWIDTH, such as 256x512')
    height, width = text.split('x')
    return int(height), int(width)


def main() -> None:
    """Parse the command line and write the dataset."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('layout', choices=list(WRITERS), help='whose layout')
    parser.add_argument('out', metavar='DST', help="the dataset's folder")
    parser.add_argument(
        '--size', type=size, default=(256, 512), metavar='HxW', help='of the pictures (256x512)'
    )
    parser.add_argument('--train', type=int, default=200, metavar='N', help='scenes (%(default)s)')
    parser.add_argument('--val', type=int, default=40, metavar='N', help='scenes (%(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the scenes (%(default)s)')
    parser.add_argument('--jobs', type=int, metavar='N', help='processes (one per core)')
    args = parser.parse_args()

    def progress(scenes: Iterable, total: int) -> Iterable:
        return track(scenes, 'rendering scenes', total, disable=not total)

    options = (args.size, args.train, args.val, args.seed, args.jobs)
    new = WRITERS[args.layout](args.out, *options, progress)
    print(f'{args.out}: {args.train} + {args.val} scenes, {new} of them new')


if __name__ == '__main__':
    run(main)
