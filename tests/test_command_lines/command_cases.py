"""Every tool and its parser, with as many arguments as it demands; and what is said of wrong ones.

The options come from each tool's own parser, the keys of configs from a table. A sample of all cases runs
always, all of them with ``-m campaign``.
"""

import argparse
import random
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_OURS = ('setup_env', 'launch')  # before anything is installed; torchrun's own options
TOOLS = sorted(path.stem for path in (ROOT / 'tools').glob('*.py') if path.stem not in NOT_OURS)
SAMPLE = 40  # of the cheap cases, always run
NEEDS_CONFIG = [
    *('train', 'test', 'test_corruption', 'test_ood', 'demo', 'show_predictions'),
    *('show_token_labels', 'model_complexity', 'visualize_clusters', 'visualize_gates'),
    *('visualize_segmentation', 'analyze_noise_decay', 'export'),
]


def assert_one_line(outcome, said=''):
    status, err = outcome
    lines = [line for line in err.splitlines() if 'error: ' in line]
    assert status == 2, err
    assert len(lines) == 1 and 'Traceback' not in err, err
    assert said in lines[0], err


class Found(Exception):
    """Carries a tool's parser out of it."""


def parser_of(tool):
    def found(self, *_):
        raise Found(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, 'parse_args', found)
        patch.setattr('sys.argv', [tool])
        try:
            runpy.run_path(str(ROOT / 'tools' / f'{tool}.py'))['main']()
        except Found as it:
            return it.args[0]


def positionals(parser, **given):
    """As many arguments as a parser demands, those that must be named included."""
    words = []
    if 'layout' in (action.dest for action in parser._actions):
        given = dict(given, out='.')  # which is no folder for a dataset of its own
    for action in parser._actions:
        value = given.get(action.dest, 'nothing')
        if not action.option_strings and action.nargs != '?':
            words += [next(iter(action.choices))] if action.choices else [value]
            if action.dest == 'models':
                words += ['nothing']
        elif action.required:
            words += [action.option_strings[0], value]
    return words


def config_words(tool, config, **given):
    given = dict(dict(config=config, models=config), **given)
    words = positionals(parser_of(tool), **given)
    if tool == 'model_complexity':
        words.insert(0, config)
    return words


def shown(case):
    return ' '.join(str(part) for part in case)[:80].encode('ascii', 'replace').decode()


def sampled(cases, count=SAMPLE):
    """Some cases always, the others in the campaign."""
    cases = list(cases)
    always = set(random.Random(0).sample(range(len(cases)), min(count, len(cases))))
    return [
        pytest.param(case, id=shown(case), marks=() if i in always else pytest.mark.campaign)
        for i, case in enumerate(cases)
    ]
