"""The command-line arguments of a config, in OpenMMLab's conventions."""

import argparse
import os
from pathlib import Path

from mmengine.config import Config, DictAction

from fan_mm.engine.old_configs import refuse_old_config
from fan_mm.errors import InputError

_CONFIGS = ('.py', '.json', '.yaml', '.yml')  # what mmengine reads


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every command has that reads a config and runs in one process."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='change the config: model.backbone.arch=tiny; lists as key="[a,b]"',
    )


def add_run_arguments(
    parser: argparse.ArgumentParser, work_dir: str = './work_dirs/CONFIG_NAME'
) -> None:
    """Add what every command has that mmengine's Runner runs, in any number of processes.

    Args:
        parser: of the command.
        work_dir: the default one, for the help.
    """
    add_config_arguments(parser)
    parser.add_argument(
        '--work-dir', metavar='DIR', help=f'logs, checkpoints, results ({work_dir})'
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    # torch.distributed.launch passes the first or the second, torchrun sets LOCAL_RANK
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config that a positional ``config`` and the arguments above describe.

    Raises:
        InputError: there is no such file, or it is no config, or one of mmcv 1.x.
    """
    if 'local_rank' in args:
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if not Path(args.config).exists():
        raise InputError(f'no such config: {args.config}')
    if not args.config.endswith(_CONFIGS):
        raise InputError(
            f'{args.config} is no config (.py): the order is CONFIG CHECKPOINT, see --help'
        )
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    refuse_old_config(cfg)
    if getattr(args, 'work_dir', None):
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = str(Path('work_dirs', Path(args.config).stem))
    return cfg
