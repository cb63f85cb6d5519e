"""Options that several tools have: one name, one type, the same words."""

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from fan_mm.cli import size, whole, writable_folder

Parser = argparse.ArgumentParser | argparse._ArgumentGroup


def add_config(parser: Parser, config: str = 'config file of mmseg, mmdet or mmpretrain') -> None:
    """Add the positional argument of a config, and what it must be."""
    parser.add_argument('config', metavar='CONFIG', help=config)


def add_model(
    parser: Parser,
    config: str = 'config file of mmseg, mmdet or mmpretrain',
    checkpoint: str = 'checkpoint, or a file exported by tools/export.py',
) -> None:
    """Add the positional arguments of a model, and what they must be."""
    add_config(parser, config)
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help=checkpoint)


def add_feature_model(parser: Parser, config: str) -> None:
    """Add the positional arguments of a model whose features are analysed, as of `Subject`."""
    add_model(parser, config, 'weights of the model or of its backbone')


def add_model_pairs(parser: Parser) -> None:
    """Add the positional arguments of several models."""
    parser.add_argument('models', nargs='+', metavar='CONFIG CHECKPOINT', help='one pair per model')


def add_output_folder(parser: Parser) -> None:
    """Add the folder that a tool writes to."""
    parser.add_argument(
        '--out', required=True, type=writable_folder, metavar='DIR', help='output folder'
    )


def add_seed(parser: Parser, of: str) -> None:
    """Add the seed of what is drawn at random, such as 'the noise'."""
    parser.add_argument('--seed', type=int, default=0, help=f'seed of {of} (default: %(default)s)')


def add_jobs(parser: Parser) -> None:
    """Add a number of processes."""
    parser.add_argument(
        '--jobs', type=whole(1), metavar='N', help='number of processes (default: one per core)'
    )


def add_count(parser: Parser, default: int, of: str = 'images') -> None:
    """Add how many images are drawn or analysed."""
    parser.add_argument(
        '--count',
        type=whole(1),
        default=default,
        metavar='N',
        help=f'number of {of}, evenly spaced (default: %(default)s)',
    )


def add_features_size(parser: Parser, default: tuple[int, int]) -> None:
    """Add the size of the images whose features are analysed, (H, W) in pixels."""
    parser.add_argument(
        '--size',
        type=size,
        default=default,
        metavar='HxW',
        help='size to which images are resized (default: {}x{})'.format(*default),
    )


def add_drawn_corruptions(parser: Parser, default: str | None = None) -> None:
    """Add what corruptions a figure shows.

    Args:
        parser: of the tool.
        default: the only one, if another is not given; None for any number, by default none.
    """
    several: dict[str, Any] = dict(
        nargs='+', default=[], help='also draw corrupted versions of the images'
    )
    one = dict(default=default, help='corruption that is drawn (default: %(default)s)')
    parser.add_argument('--corruption', metavar='NAME', **(several if default is None else one))
    parser.add_argument(
        '--severity',
        type=whole(1, 5),
        default=3,
        metavar='N',
        help='severity of the corruptions, 1 to 5 (default: %(default)s)',
    )
    add_seed(parser, 'the corruptions')


class _Benchmark(argparse.Action):
    """Select a benchmark by name, or list them."""

    def __init__(self, *args: Any, sources: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self.sources = sources

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        if values is None:
            print('\n'.join(f'{name:14}{source}' for name, source in self.sources.items()))
            parser.exit()
        namespace.benchmark = values


def add_benchmark(parser: Parser, sources: Mapping[str, str], default: str) -> None:
    """Add which cells of a benchmark are meant.

    Args:
        parser: of the tool.
        sources: name of each benchmark, and where it is from.
        default: whose benchmark it is if none is given.
    """
    parser.add_argument(
        '--benchmark',
        nargs='?',
        action=_Benchmark,
        sources=sources,
        choices=list(sources),
        metavar='NAME',
        help=f'benchmark protocol (default: that of the {default}); without NAME, list them',
    )
    parser.add_argument(
        '--corruptions',
        nargs='+',
        metavar='NAME|GROUP',
        help='only these corruptions or groups (default: all of the benchmark)',
    )
    parser.add_argument(
        '--severities',
        nargs='+',
        type=int,
        metavar='N',
        help='only these severities, 1 to 5 (default: all of the benchmark)',
    )


def add_channel_order(parser: Parser, orders: Iterable[str], default: str | None) -> None:
    """Add the order in which corruptions take the colours.

    Args:
        parser: of the tool.
        orders: those that there are.
        default: None for that of the benchmark.
    """
    said = default or 'that of the benchmark, usually rgb'
    parser.add_argument(
        '--channel-order',
        choices=list(orders),
        default=default,
        help='bgr-as-rgb: red and blue swapped, as in the published FAN and COCO-C numbers and datasets (default: '
        f'{said})',
    )


def add_amp(parser: Parser) -> None:
    """Add mixed precision."""
    parser.add_argument(
        '--amp', action='store_true', help='use mixed precision (float16; bfloat16 on a CPU)'
    )


def add_overwrite(parser: Parser) -> None:
    """Add that what a work dir holds does not count."""
    parser.add_argument(
        '--overwrite', action='store_true', help='discard earlier results in the work dir'
    )


def add_max_samples(parser: Parser) -> None:
    """Add how many images of a dataset are evaluated."""
    parser.add_argument(
        '--max-samples',
        type=whole(1),
        metavar='N',
        help='evaluate N images of each cell or condition, evenly spaced (default: all)',
    )


def add_sweep_options(parser: Parser, on_error: Iterable[str]) -> None:
    """Add what sweeps over corruptions and over real conditions have in common.

    Args:
        parser: of the tool.
        on_error: the choices if a cell fails, the default first.
    """
    add_max_samples(parser)
    parser.add_argument(
        '--save-images',
        type=whole(0),
        default=0,
        metavar='N',
        help='save N images of each cell or condition, with their predictions, for the report',
    )
    choices = list(on_error)
    parser.add_argument(
        '--on-error',
        choices=choices,
        default=choices[0],
        help='what to do if a cell or condition fails: try once more, skip it, or stop (default: %(default)s)',
    )
