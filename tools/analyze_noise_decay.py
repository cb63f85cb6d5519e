#!/usr/bin/env python
"""Plot how tokens group and how input noise decays with depth, for several models (FAN paper, Figure 3)."""

from rich.progress import track

from fan_mm.analysis.noise_decay import EPSILON, measure, write_noise_decay
from fan_mm.analysis.subject import SIZE, Subject, load_pictures, parse_models
from fan_mm.cli import number, run, tool_parser
from fan_mm.engine.arguments import add_config_arguments, load_config
from fan_mm.options import (
    add_count,
    add_features_size,
    add_model_pairs,
    add_output_folder,
    add_seed,
)

EXAMPLE = """example, after `bash tools/quickstart.sh`:
  python tools/analyze_noise_decay.py \\
      configs/fan_hybrid_toy_cityscapes.py work_dirs/quickstart_segmentation/iter_3200.pth \\
      --images data/toy_cityscapes/leftImg8bit/val --count 8 --size 128x256 --out work_dirs/noise
Add further models as further pairs of CONFIG CHECKPOINT.
"""


def main() -> None:
    """Parse the command line, measure and draw."""
    parser = tool_parser(__doc__, EXAMPLE)
    add = parser.add_argument
    add_model_pairs(parser)
    add('--images', nargs='+', required=True, metavar='IMAGE', help='image files or folders')
    add_output_folder(parser)
    add_count(parser, 16)
    add_features_size(parser, SIZE)
    add(
        '--noise-std',
        type=number(0),
        default=1.0,
        help='standard deviation of the noise on the normalised input (default: 1.0)',
    )
    add(
        '--epsilon',
        type=number(0, 1),
        default=EPSILON,
        help='eigenvalues up to this share of the largest count as insignificant (default: %(default)s)',
    )
    add_seed(parser, 'the noise')
    add_config_arguments(parser)
    args = parser.parse_args()
    models = parse_models(args.models)
    pictures = load_pictures(args.images, args.size, args.count)
    measurements = []
    for config, checkpoint, name in models:
        args.config = config
        subject = Subject(load_config(args), checkpoint, name)
        rows = measure(subject, pictures, args.noise_std, args.epsilon, args.seed)
        measurements += track(rows, subject.name, total=None)
    for file in write_noise_decay(measurements, args.out, args.epsilon):
        print(f'wrote {file}')


if __name__ == '__main__':
    run(main)
