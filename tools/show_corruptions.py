#!/usr/bin/env python
"""Draw all 19 corruptions of an image, clean and at five severities, on one labelled sheet."""

from fan_mm.cli import run, tool_parser, writable_file
from fan_mm.options import add_seed
from fan_mm.report.contact_sheet import write_contact_sheet

EXAMPLE = """example:
  python tools/make_toy_dataset.py cityscapes data/toy_cityscapes
  python tools/show_corruptions.py \\
    data/toy_cityscapes/leftImg8bit/val/toyhafen/toyhafen_000001_000000_leftImg8bit.png \\
    --out sheet.png
"""


def main() -> None:
    """Parse the command line and draw."""
    parser = tool_parser(__doc__, EXAMPLE)
    add = parser.add_argument
    add('image', metavar='IMAGE', help='an image of at least 32x32 pixels')
    add(
        '--out',
        required=True,
        type=writable_file,
        metavar='FILE',
        help='output file: .png, .jpg, .pdf or .svg',
    )
    add_seed(parser, 'the corruptions')
    args = parser.parse_args()
    write_contact_sheet(args.image, args.out, args.seed)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    run(main)
