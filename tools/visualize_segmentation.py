#!/usr/bin/env python
"""Draw clean and corrupted image, predictions on both, and errors, for one or more models (FAN paper, Figures 6, 8)."""

from fan_mm.analysis.segmentation import Segmentor, write_segmentation
from fan_mm.analysis.subject import parse_models
from fan_mm.cli import number, run, tool_parser, writable_file
from fan_mm.engine.arguments import add_config_arguments, load_config
from fan_mm.options import add_count, add_drawn_corruptions, add_model_pairs, add_output_folder

EXAMPLE = """examples, after `bash tools/quickstart.sh`:
  python tools/visualize_segmentation.py \\
      configs/fan_hybrid_toy_cityscapes.py work_dirs/quickstart_segmentation/iter_3200.pth \\
      --corruption impulse_noise --out work_dirs/segmentation
  python tools/visualize_segmentation.py \\
      configs/fan_hybrid_toy_cityscapes.py work_dirs/quickstart_segmentation/iter_3200.pth \\
      --images data/toy_cityscapes/leftImg8bit/val/toyhafen --video work_dirs/snow.gif \\
      --out work_dirs/frames
Add further models as further pairs of CONFIG CHECKPOINT.
"""


def main() -> int:
    """Parse the command line, draw, and report what could not be drawn."""
    parser = tool_parser(__doc__, EXAMPLE)
    add = parser.add_argument
    add_model_pairs(parser)
    add_output_folder(parser)
    add(
        '--images',
        metavar='PATH',
        help='an image, or a folder of images or frames (default: samples of the test split of the '
        'first config, with their ground truth)',
    )
    add_count(parser, 8, 'samples of the test split')
    add_drawn_corruptions(parser, 'snow')
    add(
        '--video',
        type=writable_file,
        metavar='FILE',
        help='also make a video from the images: .mp4, .avi or .gif',
    )
    add(
        '--fps',
        type=number(0, above=True),
        default=10.0,
        help='frames per second of the video (default: 10)',
    )
    add_config_arguments(parser)
    args = parser.parse_args()
    corruption = (args.corruption, args.severity)
    segmentors = []
    for config, checkpoint, name in parse_models(args.models):
        args.config = config
        segmentors.append(Segmentor(load_config(args), checkpoint, *corruption, args.seed, name))
    left_out = {}
    for file in write_segmentation(
        segmentors,
        args.out,
        corruption,
        args.images,
        args.count,
        args.seed,
        args.video,
        args.fps,
        left_out,
    ):
        print(f'wrote {file}')
    for file, reason in left_out.items():
        print(f'left out: {file}: {reason}')
    return 1 if left_out else 0


if __name__ == '__main__':
    run(main)
