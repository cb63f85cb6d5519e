"""Every config that mmseg, mmdet and mmpretrain ship is taken, or refused for a reason that is known.

Of the 2047 configs of the onedl forks 1893 are taken: 790 of 827 of mmdet, 424 of 538 of mmpretrain, 679
of 682 of mmseg. Of the others 99 are parts or for pre-training, 43 need a package that is not installed
(29 mmpretrain's multimodal extras, 13 panopticapi, 1 gdal), 10 are not read by mmengine either, and 2 have
more classes than their head in training (a sweep takes them). Commit 93aee95, before the checks were many,
took four more (STDC's, whose edge heads have 2 classes) and not the 8 whose weights are missing.
"""

import collections
import copy
import importlib
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from fan_mm.config_parts import datasets_of, scope_of
from fan_mm.engine.config_checks import check_settings
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError
from fan_mm.evaluation.pipelines import on_the_fly, with_cells

LIBRARIES = ('mmdet', 'mmpretrain', 'mmseg')
SAMPLE = 20  # of each library

# (file, reason), both patterns: what cannot be taken, and why
REFUSED = (
    (r'', r'^no (model|data to test on)$'),  # parts of configs, and pre-training
    (r'panoptic|maskformer', r'panopticapi is not installed'),
    (r'levir', r'gdal is not installed'),
    # only for testing: trained, labels with the background would be one too high for the 20 words, and the
    # loss has class weights for COCO-Stuff's 171 classes
    (r'san-vit-\w+_voc12aug', r'has 21 classes, but model.decode_head.num_classes is 20'),
    # need mmpretrain's multimodal extras
    (r'/(blip2?|flamingo|llava|minigpt4|ofa|otter)/', r'dataset[.\w]*: nothing is registered as '),
    # do not load with mmengine's own Config either
    (r'/replknet/', r'configuration file type in the inheritance chain'),
    (r'/swinv2-\w+-w12_8xb128_in21k', r"KeyError: 'test_pipeline'"),
    (r'/(sort|bytetrack)/', r'FileNotFoundError'),
)


class Corruption:
    """Stands for the transform that is put into the pipeline."""

    corruption = severity = None

    def __call__(self, results):
        return results


class Data:
    """A dataset of which only the pipeline matters."""

    def __init__(self, pipeline):
        self.pipeline = pipeline


def shipped(library):
    pytest.importorskip(library)
    root = Path(importlib.import_module(library).__file__).parent / '.mim' / 'configs'
    paths = root.rglob('*.py')
    return root, sorted(p for p in paths if '_base_' not in p.parts)


def outcome(path):
    """'taken', or what is said: by mmengine, by the checks, or where the corruption is to be put."""
    try:
        cfg = Config.fromfile(path)
        cfg.default_scope = scope_of(cfg)
        register_task_library(cfg)
        if 'model' not in cfg:
            return 'no model'
        for training in (True, False):
            check_settings(copy.deepcopy(cfg), training)
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope')):
            for name in ('test_dataloader', 'val_dataloader'):
                loader = cfg.get(name)
                if loader:
                    for _, dataset in datasets_of(name, loader.dataset):
                        pipeline = Data(Compose(dataset.pipeline))
                        with_cells(pipeline, Corruption, on_the_fly)
                    return 'taken'
        return 'no data to test on'
    except InputError as error:
        return str(error)
    except Exception as error:
        return f'{type(error).__name__}: {error}'


def known(path, said):
    return any(re.search(file, str(path)) and re.search(why, said) for file, why in REFUSED)


def check(paths, root):
    outcomes = {path: outcome(path) for path in paths}
    wrong = {p: said for p, said in outcomes.items() if said != 'taken' and not known(p, said)}
    assert not wrong, '\n'.join(f'{path.relative_to(root)}: {said}' for path, said in wrong.items())
    return collections.Counter(said == 'taken' for said in outcomes.values())


@pytest.mark.parametrize('library', LIBRARIES)
def test_a_sample(library):
    root, paths = shipped(library)
    check(paths[:: max(1, len(paths) // SAMPLE)], root)


@pytest.mark.all_configs
@pytest.mark.parametrize('library', LIBRARIES)
def test_all(library, request):
    if 'all_configs' not in request.config.getoption('-m'):
        pytest.skip('only by -m all_configs')
    root, paths = shipped(library)
    counts = check(paths, root)
    print(f'{library}: {counts[True]} of {len(paths)} taken, the others refused for known reasons')
