#!/usr/bin/env python
"""Write Cityscapes-C, COCO-C or ImageNet-C: corrupted copies of a dataset's images, using all cores.

If interrupted at any point, the same command continues.
"""

import argparse
import sys

from fan_mm.cli import run, tool_parser, whole
from fan_mm.corruptions import BENCHMARK_ORDERS, BENCHMARKS, choose_cells
from fan_mm.datasets.corrupted.copies import named
from fan_mm.datasets.corrupted.generate import generate
from fan_mm.datasets.corrupted.layouts import FORMATS, LAYOUTS, image_folder
from fan_mm.datasets.corrupted.verify import verify
from fan_mm.errors import InputError
from fan_mm.options import add_benchmark, add_channel_order, add_jobs, add_seed
from fan_mm.stopping import telling

EXAMPLE = """example:
  python tools/make_toy_dataset.py cityscapes data/toy_cityscapes
  python tools/make_corrupted_dataset.py cityscapes data/toy_cityscapes data/toy_cityscapes-c
  python tools/make_corrupted_dataset.py cityscapes data/toy_cityscapes data/toy_cityscapes-c --verify
"""


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = tool_parser(__doc__, EXAMPLE)
    add = parser.add_argument
    add('layout', choices=LAYOUTS, help='layout of SRC')
    add('source', metavar='SRC', help='root of the clean dataset (data/cityscapes, data/coco, ...)')
    add('destination', metavar='DST', help='root of the corrupted dataset, new or to be continued')
    add_benchmark(parser, {name: b.source for name, b in BENCHMARKS.items()}, 'layout')
    add('--split', default='val', help='split of the clean dataset (default: val)')
    add_seed(parser, 'the corruptions')
    add('--format', choices=FORMATS, help='default: png (cityscapes), keep (coco), jpg (imagenet)')
    add(
        '--quality',
        type=whole(1, 100),
        metavar='Q',
        help='JPEG quality (default: 95, for imagenet 85)',
    )
    add_channel_order(parser, BENCHMARK_ORDERS, 'rgb')
    add_jobs(parser)
    add('--verify', action='store_true', help='only check DST against its manifest')
    return parser.parse_args()


def main() -> int:
    """Generate or verify; return 1 if anything is missing at the end."""
    args = parse()
    if args.verify:
        try:
            source = image_folder(args.source, args.layout, args.split)
        except InputError:
            source = None
            print(f'{args.source} does not exist: changes of the source images are not checked')
        problems = verify(args.destination, source, jobs=args.jobs)
        print('\n'.join(problems) or f'{args.destination} matches its manifest')
        return 1 if problems else 0
    benchmark = BENCHMARKS[args.benchmark or LAYOUTS[args.layout].benchmark]
    with telling(lambda: 'everything written so far is kept; the same command continues'):
        summary = generate(
            args.source,
            args.destination,
            args.layout,
            choose_cells(benchmark, args.corruptions, args.severities),
            split=args.split,
            seed=args.seed,
            channel_order=args.channel_order,
            file_format=args.format,
            quality=args.quality,
            jobs=args.jobs,
        )
    print(f'{summary.files} images in {args.destination}, {summary.written} of them new')
    for remark, names in summary.remarks.items():
        print(f'{len(names)} of the images read in this run {remark}: {named(names)}')
    for name, reason in summary.unreadable.items():
        print(f'unreadable, left out: {named([name])} ({reason})', file=sys.stderr)
    return 1 if summary.unreadable else 0


if __name__ == '__main__':
    run(main)
