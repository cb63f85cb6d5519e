"""Draw all 19 corruptions of an image at all severities on one sheet.

python tools/make_toy_dataset.py cityscapes data/toy
python tools/show_corruptions.py data/toy/leftImg8bit/val/*/*.png --out sheet.png
"""

import argparse

from fan_mm.cli import run
from fan_mm.report.contact_sheet import write_contact_sheet


def main() -> None:
    """Parse the command line and draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('image', metavar='IMAGE', help='any image of at least 32x32 pixels')
    add('--out', required=True, metavar='FILE', help='.png, .jpg, .pdf or .svg')
    add('--seed', type=int, default=0, help='base seed (default 0)')
    args = parser.parse_args()
    write_contact_sheet(args.image, args.out, args.seed)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    run(main)
