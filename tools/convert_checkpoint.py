#!/usr/bin/env python
"""Convert a released FAN, STL or TAO checkpoint to OpenMMLab's format.

Only needed for whole models: a backbone loads the released file directly, with
init_cfg=dict(type='Pretrained', checkpoint=FILE).
"""

from fan_mm.cli import run, tool_parser, writable_file
from fan_mm.models.conversion import convert_file

EXAMPLE = """examples:
  python tools/convert_checkpoint.py fan_hybrid_small.pth.tar checkpoints/fan_hybrid_s.pth
  python tools/convert_checkpoint.py fan_segmentor.pth checkpoints/fan_segmentor.pth
  python tools/test.py configs/fan_hybrid_s_cityscapes.py checkpoints/fan_segmentor.pth \\
      --cfg-options model.backbone.paired_frequencies=False
"""


def main() -> None:
    """Parse the command line, convert, and report."""
    parser = tool_parser(__doc__, EXAMPLE)
    parser.add_argument('source', help='released file, or its http(s) URL')
    parser.add_argument('target', type=writable_file, help='output file')
    parser.add_argument(
        '--weights',
        choices=['ema', 'model'],
        help='which weights of a training file to use (default: EMA weights, if available)',
    )
    parser.add_argument(
        '--prefix',
        help='which part of the file to use, such as student, if it contains several FANs',
    )
    parser.add_argument('--verbose', action='store_true', help='print what happened to each key')
    args = parser.parse_args()
    conversion = convert_file(args.source, args.target, args.weights, args.prefix)
    if args.verbose:
        for source, made in conversion.names.items():
            print(f'{source} -> {", ".join(made) or "left out"}')
    for line in conversion.summary():
        print(line)
    print(f'written: {args.target}')


if __name__ == '__main__':
    run(main)
