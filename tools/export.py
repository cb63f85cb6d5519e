#!/usr/bin/env python
"""Export a checkpoint to ONNX (or torch.export, TensorRT), and verify it against PyTorch."""

import argparse

from fan_mm.cli import run, tool_parser, writable_file
from fan_mm.deploy import MAKERS_OPSET, OUTPUTS, PARTS
from fan_mm.engine.arguments import add_config_arguments, load_config
from fan_mm.errors import InputError
from fan_mm.jobs.export import CALIBRATION_IMAGES, FORMATS, PRECISIONS, export, verify_file
from fan_mm.options import add_model

EXAMPLE = """examples:
  python tools/export.py configs/fan_hybrid_s_cityscapes.py fan_hybrid_s.pth --out model.onnx \\
      --size 1024 2048 --dynamic batch size --output labels --with-preprocessing
  python tools/export.py configs/fan_hybrid_s_cityscapes.py fan_hybrid_s.pth --verify-only model.onnx
"""


def _pixels(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number of pixels')
    return int(text)


def main() -> None:
    """Parse the command line, export or verify, and report."""
    parser = tool_parser(__doc__, EXAMPLE)
    add = parser.add_argument
    add_model(parser, checkpoint='checkpoint')
    add('--out', type=writable_file, metavar='FILE', help='output file, such as model.onnx')
    add(
        '--size',
        nargs=2,
        type=_pixels,
        default=(224, 224),
        metavar=('HEIGHT', 'WIDTH'),
        help='input size in pixels (default: 224 224)',
    )
    add(
        '--dynamic',
        nargs='+',
        choices=['batch', 'size'],
        default=(),
        help='dimensions that stay dynamic (default: none; the file takes one image of the given size)',
    )
    add(
        '--output',
        choices=OUTPUTS,
        default=OUTPUTS[0],
        help='output of the graph (default: logits)',
    )
    add('--part', choices=PARTS, default=PARTS[0], help='features: backbone and neck only')
    add(
        '--with-preprocessing',
        action='store_true',
        help='take uint8 RGB (B, H, W, 3) and normalise inside the graph',
    )
    add('--opset', type=int, default=MAKERS_OPSET, help=f'ONNX opset (default: {MAKERS_OPSET})')
    add('--format', choices=FORMATS, default=FORMATS[0], help='file format (default: onnx)')
    add('--precision', choices=PRECISIONS, default=PRECISIONS[0], help='default: fp32')
    add(
        '--calibration-images',
        type=int,
        default=CALIBRATION_IMAGES,
        metavar='N',
        help=f'number of images of the training split, for int8 (default: {CALIBRATION_IMAGES})',
    )
    add('--verify-only', metavar='FILE', help='verify an existing exported file')
    add_config_arguments(parser)
    args = parser.parse_args()
    if (args.out is None) == (args.verify_only is None):
        raise InputError('give either --out FILE or --verify-only FILE')
    cfg = load_config(args)
    if args.verify_only:
        print(f'{args.verify_only}: {verify_file(cfg, args.checkpoint, args.verify_only)}')
        return
    found = export(
        cfg,
        args.checkpoint,
        args.out,
        tuple(args.size),
        free=args.dynamic,
        output=args.output,
        part=args.part,
        preprocessing=args.with_preprocessing,
        opset=args.opset,
        precision=args.precision,
        calibration_images=args.calibration_images,
        form=args.format,
    )
    print(f'{args.out}: {found}')


if __name__ == '__main__':
    run(main)
