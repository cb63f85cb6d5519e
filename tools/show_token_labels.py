#!/usr/bin/env python
"""Draw the token labels of an STL model: the image, the label of every token, and its confidence."""

from rich.progress import track

from fan_mm.analysis.token_labels import paint_token_labels
from fan_mm.cli import run, tool_parser
from fan_mm.engine.arguments import add_config_arguments, load_config
from fan_mm.options import add_count, add_model, add_output_folder

EXAMPLE = """example, on the toy dataset:
  python tools/make_toy_dataset.py imagenet data/toy_imagenet --size 80x80 --train 3000 --val 400
  python tools/train.py configs/fan_hybrid_toy_stl_teacher_imagenet.py
  python tools/show_token_labels.py data/toy_imagenet/val \\
      configs/fan_hybrid_toy_stl_teacher_imagenet.py \\
      work_dirs/fan_hybrid_toy_stl_teacher_imagenet/epoch_20.pth --out work_dirs/token_labels
"""


def main() -> None:
    """Parse the command line and draw."""
    parser = tool_parser(__doc__, EXAMPLE)
    parser.add_argument(
        'images', metavar='IMAGE_OR_FOLDER', help='image, or folder (including subfolders)'
    )
    add_model(parser, 'config file of a token labeler or student', 'checkpoint')
    add_output_folder(parser)
    add_count(parser, 8)
    add_config_arguments(parser)
    args = parser.parse_args()
    written = paint_token_labels(
        load_config(args),
        args.checkpoint,
        args.images,
        args.out,
        args.count,
        lambda files: track(files, 'painting'),
    )
    print(f'{len(written)} images in {args.out}')


if __name__ == '__main__':
    run(main)
