#!/usr/bin/env python
"""Draw image, ground truth and prediction side by side, for samples of a config's test split."""

from rich.progress import track

from fan_mm.cli import run, tool_parser
from fan_mm.engine.arguments import add_config_arguments, load_config
from fan_mm.jobs.demo import paint_samples
from fan_mm.options import add_count, add_model, add_output_folder

EXAMPLE = """example, after `bash tools/quickstart.sh`:
  python tools/show_predictions.py configs/fan_hybrid_toy_cityscapes.py \\
      work_dirs/quickstart_segmentation/iter_3200.pth --out work_dirs/predictions
"""


def main() -> None:
    """Parse the command line and draw."""
    parser = tool_parser(__doc__, EXAMPLE)
    add_model(parser)
    add_output_folder(parser)
    add_count(parser, 8)
    add_config_arguments(parser)
    args = parser.parse_args()
    written = paint_samples(
        load_config(args),
        args.checkpoint,
        args.out,
        args.count,
        lambda samples: track(samples, 'painting'),
    )
    print(f'{len(written)} images in {args.out}')


if __name__ == '__main__':
    run(main)
