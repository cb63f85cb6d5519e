#!/usr/bin/env python
"""Print parameters and FLOPs per module for the model of any config, or write the table of all FAN models."""

from rich.console import Console

from fan_mm.analysis.complexity import complexity_of_config, module_table
from fan_mm.analysis.complexity_table import write_table
from fan_mm.cli import run, size, tool_parser, whole, writable_file
from fan_mm.engine.arguments import add_config_arguments, load_config
from fan_mm.errors import InputError

EXAMPLE = """examples:
  python tools/model_complexity.py configs/fan_hybrid_toy_cityscapes.py --size 128x256
  python tools/model_complexity.py configs/fan_hybrid_s_cityscapes.py --size 1024x2048 --depth 3
  python tools/model_complexity.py --table docs/complexity.md
"""


def main() -> None:
    """Parse the command line, count and print."""
    parser = tool_parser(__doc__, EXAMPLE)
    add = parser.add_argument
    add('config', nargs='?', metavar='CONFIG', help='config of mmseg, mmdet or mmpretrain')
    add(
        '--size',
        type=size,
        default=(224, 224),
        metavar='HxW',
        help='input size in pixels (default: 224x224)',
    )
    add(
        '--depth', type=whole(1), default=2, help='nesting depth of the listed modules (default: 2)'
    )
    add(
        '--table',
        type=writable_file,
        metavar='FILE',
        help='write the table of all FAN models as Markdown',
    )
    add_config_arguments(parser)
    args = parser.parse_args()
    if (args.config is None) == (args.table is None):
        raise InputError('give either a CONFIG or --table FILE')
    if args.table:
        write_table(args.table)
        print(f'wrote {args.table}')
        return
    found = complexity_of_config(load_config(args), args.size)
    console = Console()
    console.print(module_table(found, args.depth, f'{args.config}, {args.size[0]}x{args.size[1]}'))
    if found.unknown:
        console.print(f'not counted: {", ".join(sorted(found.unknown))}')


if __name__ == '__main__':
    run(main)
