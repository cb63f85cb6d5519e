"""Command-line arguments for configs, following OpenMMLab's conventions."""

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config, DictAction

from fan_mm.cli import whole
from fan_mm.engine.config.file import read_config
from fan_mm.fileio import check_folder

_SPACE = '\0'  # cannot occur in an argument


class _Options(DictAction):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Report mistakes that would give a traceback in mmengine."""
        for text in values:
            key, equals, value = text.partition('=')
            if not equals or not all(key.split('.')):
                raise argparse.ArgumentError(self, f'{text!r} is not KEY=VALUE')
            if any(value.count(a) != value.count(b) for a, b in ('()', '[]')):
                raise argparse.ArgumentError(self, f'{text!r}: a bracket is missing')
            # mmengine would parse it as a string.
            if re.fullmatch(r'\s*({(.*:.*|\s*)}|dict\(.*\))\s*', value):
                raise argparse.ArgumentError(
                    self, f'{text!r}: set a dict key by key, {key}.KEY=VALUE'
                )
        super().__call__(parser, namespace, values, option_string)

    @staticmethod
    def _parse_iterable(val: str) -> object:
        """Like mmengine's, but keeps spaces within paths and class names, which mmengine drops."""
        val = val.strip()
        if ',' in val or val.strip('\'"')[:1] in ('[', '('):
            val = re.sub(r'\s*,\s*|(?<=[\[(])\s+|\s+(?=[\])])', lambda m: m[0].strip(), val)
        return _with_spaces(DictAction._parse_iterable(val.replace(' ', _SPACE)))


def _with_spaces(value: object) -> object:
    if isinstance(value, list | tuple):
        return type(value)(map(_with_spaces, value))
    return value.replace(_SPACE, ' ') if isinstance(value, str) else value


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every command that reads a config and runs in one process."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=_Options,
        metavar='KEY=VALUE',
        help='override config entries: model.backbone.arch=tiny; lists as key="[a,b]"',
    )


def add_run_arguments(
    parser: argparse.ArgumentParser, work_dir: str = './work_dirs/CONFIG_NAME'
) -> None:
    """Add the arguments of every command that uses mmengine's Runner, in any number of processes."""
    add_config_arguments(parser)
    parser.add_argument(
        '--work-dir',
        metavar='DIR',
        help=f'folder for logs, checkpoints and results (default: {work_dir})',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher (default: %(default)s)',
    )
    # torch.distributed.launch passes one of these; torchrun sets LOCAL_RANK instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_calibration_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of commands that can measure calibration."""
    parser.add_argument(
        '--calibration',
        action='store_true',
        help='also measure expected calibration error, NLL and Brier score (classification, segmentation)',
    )
    parser.add_argument(
        '--fit-temperature',
        type=whole(1),
        default=0,
        metavar='N',
        help='also report calibration with one temperature, fitted on N clean images of the training split',
    )


def load_config(args: argparse.Namespace) -> Config:
    """Read the config that a positional ``config`` and the arguments above describe.

    Raises:
        InputError: the file or the options are wrong, see `read_config`; no run can write to the work dir.
    """
    if 'local_rank' in args:
        os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, getattr(args, 'cfg_options', None))
    if getattr(args, 'work_dir', None):
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = str(Path('work_dirs', Path(args.config).stem))
    if 'work_dir' in args:
        check_folder(cfg.work_dir)
    return cfg
