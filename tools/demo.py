#!/usr/bin/env python
"""Draw the predictions of any mmseg, mmdet or mmpretrain model over your own images."""

from rich.progress import track

from fan_mm.cli import run, tool_parser
from fan_mm.engine.arguments import add_config_arguments, load_config
from fan_mm.jobs.demo import paint_files
from fan_mm.options import add_model, add_output_folder

EXAMPLE = """example, after `bash tools/quickstart.sh`:
  python tools/demo.py data/toy_cityscapes/leftImg8bit/val configs/fan_hybrid_toy_cityscapes.py \\
      work_dirs/quickstart_segmentation/iter_3200.pth --out work_dirs/painted
"""


def main() -> int:
    """Parse the command line, draw, and report what could not be drawn."""
    parser = tool_parser(__doc__, EXAMPLE)
    parser.add_argument(
        'images', metavar='IMAGE_OR_FOLDER', help='image, or folder (including subfolders)'
    )
    add_model(parser)
    add_output_folder(parser)
    add_config_arguments(parser)
    args = parser.parse_args()
    written, left_out = paint_files(
        load_config(args),
        args.checkpoint,
        args.images,
        args.out,
        lambda files: track(files, 'painting'),
    )
    print(f'{len(written)} images in {args.out}')
    for file, reason in left_out.items():
        print(f'left out: {file}: {reason}')
    return 1 if left_out else 0


if __name__ == '__main__':
    run(main)
