#!/usr/bin/env python
"""Estimate how long training and a corruption sweep take on this machine, from two steps of each config."""

import tempfile
from datetime import timedelta

from fan_mm.cli import run, tool_parser, whole

# isort: split
import torch

from fan_mm.engine.arguments import add_config_arguments, load_config
from fan_mm.jobs.run_time import measure_run_time
from fan_mm.options import add_max_samples

EXAMPLE = """example, with CamVid at data/camvid:
  python tools/estimate_run_time.py configs/fan_hybrid_t_camvid.py configs/mit_b0_camvid.py --cells 96
"""


def main() -> None:
    """Parse the command line, measure, print."""
    parser = tool_parser(__doc__, EXAMPLE)
    add = parser.add_argument
    add('configs', nargs='+', metavar='CONFIG', help='configs with iteration-based training')
    add(
        '--cells',
        type=whole(0),
        default=96,
        metavar='N',
        help='number of cells of the sweep (default: 96, all and clean)',
    )
    add_max_samples(parser)
    add_config_arguments(parser)
    args = parser.parse_args()
    total = 0.0
    with tempfile.TemporaryDirectory() as args.work_dir:
        for config in args.configs:
            args.config = config
            found = measure_run_time(load_config(args))
            total += found.seconds(args.cells, args.max_samples)
            print(f'{config}: {found.line(args.cells, args.max_samples)}', flush=True)
    where = 'a GPU' if torch.cuda.is_available() else f'{torch.get_num_threads()} CPU cores'
    print(f'together about {timedelta(seconds=round(total))} on {where}')


if __name__ == '__main__':
    run(main)
