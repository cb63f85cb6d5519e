"""Options that several tools have: what they take and refuse, their defaults, the words of their help."""

import argparse
from functools import partial

import pytest

from fan_mm import options

SOURCES = dict(cityscapes='FAN, table 6', imagenet='ImageNet-C')
BENCHMARK = partial(options.add_benchmark, sources=SOURCES, default='dataset')
SWEEP = partial(options.add_sweep_options, on_error=('retry', 'skip', 'stop'))
DRAWN = partial(options.add_drawn_corruptions, default='fog')
ORDER = partial(options.add_channel_order, orders=('rgb', 'bgr'), default='rgb')
REFUSED = None


def parser_with(add):
    parser = argparse.ArgumentParser(prog='tool')
    add(parser)
    return parser


@pytest.mark.parametrize(
    ('add', 'given', 'taken'),
    [
        (options.add_config, 'c.py', dict(config='c.py')),
        (options.add_model, 'c.py w.pth', dict(config='c.py', checkpoint='w.pth')),
        (options.add_model, 'c.py', REFUSED),
        (options.add_model_pairs, 'c.py w.pth d.py', dict(models=['c.py', 'w.pth', 'd.py'])),
        (options.add_model_pairs, '', REFUSED),
        (options.add_output_folder, '--out d', dict(out='d')),
        (options.add_output_folder, '', REFUSED),
        (partial(options.add_seed, of='all'), '', dict(seed=0)),
        (partial(options.add_seed, of='all'), '--seed 3', dict(seed=3)),
        (options.add_jobs, '', dict(jobs=None)),
        (options.add_jobs, '--jobs 1', dict(jobs=1)),
        (options.add_jobs, '--jobs 0', REFUSED),
        (partial(options.add_count, default=4), '', dict(count=4)),
        (partial(options.add_count, default=4), '--count 1', dict(count=1)),
        (partial(options.add_count, default=4), '--count 0', REFUSED),
        (partial(options.add_features_size, default=(8, 16)), '', dict(size=(8, 16))),
        (partial(options.add_features_size, default=(8, 16)), '--size 4x6', dict(size=(4, 6))),
        (options.add_drawn_corruptions, '', dict(corruption=[], severity=3, seed=0)),
        (
            options.add_drawn_corruptions,
            '--corruption fog snow --severity 5',
            dict(corruption=['fog', 'snow'], severity=5, seed=0),
        ),
        (DRAWN, '--severity 1', dict(corruption='fog', severity=1, seed=0)),
        (DRAWN, '--corruption snow', dict(corruption='snow', severity=3, seed=0)),
        (DRAWN, '--corruption fog snow', REFUSED),
        (DRAWN, '--severity 0', REFUSED),
        (DRAWN, '--severity 6', REFUSED),
        (BENCHMARK, '', dict(benchmark=None, corruptions=None, severities=None)),
        (
            BENCHMARK,
            '--benchmark imagenet --corruptions fog noise --severities 1 2',
            dict(benchmark='imagenet', corruptions=['fog', 'noise'], severities=[1, 2]),
        ),
        (BENCHMARK, '--benchmark other', REFUSED),
        (ORDER, '', dict(channel_order='rgb')),
        (ORDER, '--channel-order bgr', dict(channel_order='bgr')),
        (ORDER, '--channel-order gbr', REFUSED),
        (options.add_amp, '', dict(amp=False)),
        (options.add_amp, '--amp', dict(amp=True)),
        (options.add_overwrite, '', dict(overwrite=False)),
        (options.add_overwrite, '--overwrite', dict(overwrite=True)),
        (SWEEP, '', dict(max_samples=None, save_images=0, on_error='retry')),
        (
            SWEEP,
            '--max-samples 1 --save-images 2 --on-error stop',
            dict(max_samples=1, save_images=2, on_error='stop'),
        ),
        (SWEEP, '--max-samples 0', REFUSED),
        (SWEEP, '--save-images -1', REFUSED),
        (SWEEP, '--on-error go', REFUSED),
    ],
)
def test_what_is_taken(add, given, taken):
    parser = parser_with(add)
    if taken is REFUSED:
        with pytest.raises(SystemExit) as end:
            parser.parse_args(given.split())
        assert end.value.code == 2
    else:
        assert vars(parser.parse_args(given.split())) == taken


@pytest.mark.parametrize(
    ('add', 'usage', 'words'),
    [
        (options.add_config, 'CONFIG', 'config file of mmseg, mmdet or mmpretrain'),
        (options.add_model, 'CONFIG CHECKPOINT', 'or a file exported by tools/export.py'),
        (partial(options.add_model, config='a', checkpoint='b'), 'CONFIG', 'CHECKPOINT b'),
        (partial(options.add_feature_model, config='a'), 'CONFIG', 'CONFIG a'),
        (
            partial(options.add_feature_model, config='a'),
            'CHECKPOINT',
            'weights of the model or of its backbone',
        ),
        (options.add_model_pairs, 'CONFIG CHECKPOINT', 'one pair per model'),
        (options.add_output_folder, '--out DIR', 'output folder'),
        (partial(options.add_seed, of='the noise'), '--seed', 'seed of the noise (default: 0)'),
        (options.add_jobs, '--jobs N', '(default: one per core)'),
        (
            partial(options.add_count, default=4),
            '--count N',
            'number of images, evenly spaced (default: 4)',
        ),
        (partial(options.add_count, default=4, of='blocks'), '--count N', 'number of blocks'),
        (partial(options.add_features_size, default=(8, 16)), '--size HxW', '(default: 8x16)'),
        (options.add_drawn_corruptions, '--corruption NAME [NAME ...]', 'also draw corrupted'),
        (DRAWN, '--corruption NAME]', 'corruption that is drawn (default: fog)'),
        (DRAWN, '--severity N', '1 to 5 (default: 3)'),
        (DRAWN, '--seed', 'seed of the corruptions'),
        (BENCHMARK, '--benchmark [NAME]', '(default: that of the dataset)'),
        (BENCHMARK, '--corruptions NAME|GROUP', 'only these corruptions or groups'),
        (BENCHMARK, '--severities N', 'only these severities, 1 to 5'),
        (ORDER, '--channel-order {rgb,bgr}', '(default: rgb)'),
        (
            partial(options.add_channel_order, orders=('rgb',), default=None),
            '--channel-order {rgb}',
            '(default: that of the benchmark, usually rgb)',
        ),
        (options.add_amp, '--amp', 'use mixed precision'),
        (options.add_overwrite, '--overwrite', 'discard earlier results'),
        (SWEEP, '--max-samples N', 'evaluate N images'),
        (SWEEP, '--save-images N', 'save N images'),
        (SWEEP, '--on-error {retry,skip,stop}', '(default: retry)'),
    ],
)
def test_help(add, usage, words):
    said = ' '.join(parser_with(add).format_help().split())
    assert usage in said and words in said


def test_benchmarks_are_listed(capsys):
    with pytest.raises(SystemExit) as end:
        parser_with(BENCHMARK).parse_args(['--benchmark'])
    assert end.value.code == 0
    assert capsys.readouterr().out == 'cityscapes    FAN, table 6\nimagenet      ImageNet-C\n'
