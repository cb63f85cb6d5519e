#!/usr/bin/env python
"""Write a toy dataset: rendered street scenes in the layout of a well-known dataset."""

import functools
from collections.abc import Iterable

from rich.progress import track

from fan_mm.cli import run, size, tool_parser, whole
from fan_mm.datasets.scenes import (
    SHIFT_LAYOUTS,
    forms_of,
    write_cityscapes,
    write_coco,
    write_imagenet,
    write_shift_set,
)
from fan_mm.errors import InputError
from fan_mm.options import add_jobs, add_seed
from fan_mm.stopping import telling

EXAMPLE = """examples, with the defaults of each layout:
  python tools/make_toy_dataset.py cityscapes data/toy_cityscapes --size 256x512 --train 200 --val 40
  python tools/make_toy_dataset.py coco data/toy_coco --size 192x256 --train 600 --val 60
  python tools/make_toy_dataset.py imagenet data/toy_imagenet --size 80x80 --train 3000 --val 400
  python tools/make_toy_dataset.py acdc data/toy_acdc --size 256x512 --train 4 --val 6
  python tools/make_toy_dataset.py acdc data/toy_acdc_flat --form flat
"""
LAYOUTS = {  # writer, size, training and validation scenes
    'cityscapes': (write_cityscapes, (256, 512), 200, 40),
    'coco': (write_coco, (192, 256), 600, 60),
    'imagenet': (write_imagenet, (80, 80), 3000, 400),
}
# numbers per condition; Foggy Cityscapes matches a toy Cityscapes of the default size
LAYOUTS |= {
    name: (functools.partial(write_shift_set, name), (256, 512), 4, 6) for name in SHIFT_LAYOUTS
}
FORMS = list(dict.fromkeys(form for layout in LAYOUTS for form in forms_of(layout)))


def main() -> None:
    """Parse the command line and write the dataset."""
    parser = tool_parser(__doc__, EXAMPLE)
    parser.add_argument('layout', choices=list(LAYOUTS), help='layout to write')
    parser.add_argument('out', metavar='DST', help='output folder')
    parser.add_argument('--size', type=size, metavar='HxW', help='image size')
    parser.add_argument(
        '--train', type=whole(1), metavar='N', help='number of training scenes (per condition)'
    )
    parser.add_argument('--val', type=whole(1), metavar='N', help='number of validation scenes')
    add_seed(parser, 'the scenes')
    add_jobs(parser)
    parser.add_argument(
        '--form',
        choices=FORMS,
        default=FORMS[0],
        help='variant of the folder layout of a dataset of adverse conditions (default: %(default)s)',
    )
    args = parser.parse_args()

    def progress(scenes: Iterable, total: int) -> Iterable:
        return track(scenes, 'rendering scenes', total, disable=not total)

    write, *defaults = LAYOUTS[args.layout]
    given = (args.size, args.train, args.val)
    shape, train, val = (d if g is None else g for g, d in zip(given, defaults, strict=True))
    if args.form not in forms_of(args.layout):
        known = ', '.join(forms_of(args.layout))
        raise InputError(f'--form {args.form}: {args.layout} has only {known}')
    if args.layout in SHIFT_LAYOUTS:
        write = functools.partial(write, form=args.form)
    with telling(lambda: 'everything written so far is kept; the same command continues'):
        new = write(args.out, shape, train, val, args.seed, args.jobs, progress)
    per_condition = ' per condition' if args.layout in SHIFT_LAYOUTS else ''
    print(f'{args.out}: {train} + {val} scenes{per_condition}, {new} of them new')


if __name__ == '__main__':
    run(main)
