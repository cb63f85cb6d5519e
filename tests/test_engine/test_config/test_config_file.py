"""Configs wherever they lie and however they are written; `tests/test_command_lines` has wrong ones."""

import copy
import inspect
import json
import os
import pickle
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from fan_mm.engine.config.file import read_config
from fan_mm.errors import InputError

MODEL = "model = dict(type='A', backbone=dict(depth=1))\nitems = [dict(a=1), dict(a=2)]\n"
LAZY = (
    'from mmengine.config import read_base\n'
    'from torch.optim import SGD\n'
    'with read_base():\n'
    '    from .plain import *\n'
    'optim_wrapper = dict(optimizer=dict(type=SGD, lr=0.1))\n'
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setattr('sys.path', list(sys.path))
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'plain.py').write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    'name',
    ['a b.py', '~/plain.py', 'link.py', 'a.json', 'a.yaml', 'a.yml', 'lazy.py', 'based.py', 'ä.py'],
)
def test_names_and_formats(here, name):
    for python in ('a b.py', 'ä.py'):
        (here / python).write_text(MODEL)
    (here / 'link.py').symlink_to('plain.py')
    (here / 'lazy.py').write_text(LAZY)
    (here / 'based.py').write_text("_base_ = './plain.py'\nmodel = dict(backbone=dict(depth=2))\n")
    for suffix in ('json', 'yaml', 'yml'):
        Config.fromfile(here / 'plain.py').dump(here / f'a.{suffix}')
    cfg = read_config(name, {'model.backbone.width': 3, 'items.1.a': 5})
    assert cfg.model.backbone.depth == (2 if name == 'based.py' else 1)
    assert cfg.model.backbone.width == 3 and cfg['items'][1]['a'] == 5


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (b'\xef\xbb\xbf' + MODEL.encode(), 'a.py begins with a byte order mark: save it as plain'),
        (b"_base_ = './a.py'", 'a.py: infinite recursion: a _base_ leads back to .*a.py'),
        (b"_base_ = './b.py'", 'a.py: infinite recursion: a _base_ leads back to .*[ab].py'),
    ],
)
def test_files_that_cannot_be_read(here, content, words):
    (here / 'a.py').write_bytes(content)
    (here / 'b.py').write_text("_base_ = './a.py'")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 120)  # a circle of a thousand files takes seconds
    try:
        with pytest.raises(InputError, match=words) as error:
            read_config('a.py')
    finally:
        sys.setrecursionlimit(limit)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['fan_hybrid_t_cityscapes.py', '_base_/default_runtime.py'])
def test_a_base_of_ours_is_named_by_its_path(here, name):
    (here / 'a.py').write_text(f"_base_ = 'fan_mm::{name}'")
    with pytest.raises(InputError, match=r"a\.py: mmengine has no 'fan_mm::' in a _base_") as error:
        read_config('a.py')
    path = str(error.value).rpartition(' such as ')[2]
    (here / 'a.py').write_text(f'_base_ = {path!r}')
    assert read_config('a.py').model.backbone.type == 'FANHybrid'


def test_a_library_under_the_name_of_another_distribution(here, monkeypatch):
    """onedl-mmengine looks for mmsegmentation, whose configs onedl-mmsegmentation carries."""
    library = pytest.importorskip('mmseg')
    name = 'fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py'
    (here / 'a.py').write_text(f"_base_ = 'mmseg::{name}'")
    monkeypatch.setattr('mmengine.config.config.is_installed', lambda package: False)
    with pytest.raises(
        InputError, match="under another name: instead of 'mmseg::', write "
    ) as error:
        read_config('a.py')
    folder = str(error.value).rpartition(' write ')[2]
    assert folder.startswith(str(Path(library.__file__).parent)) and Path(folder, name).is_file()
    (here / 'a.py').write_text("_base_ = 'mmflow::a/b.py'")  # which is not there at all
    with pytest.raises(InputError, match='mmflow is not installed, please install'):
        read_config('a.py')


def test_new_keys_may_be_set(here):
    cfg = read_config('plain.py', {'load_from': 'a.pth', 'my_tag': 1, 'randomness.seed': 3})
    assert (cfg.load_from, cfg.my_tag, cfg.randomness.seed) == ('a.pth', 1, 3)


def test_the_current_folder_comes_before_the_configs_and_after_what_is_installed(here):
    below = here / 'below'
    below.mkdir()
    (below / 'cfg.py').write_text(
        MODEL + "custom_imports = dict(imports=['which_one'], allow_failed_imports=False)\n"
    )
    (here / 'which_one.py').write_text("PLACE = 'here'\n")
    (below / 'which_one.py').write_text("PLACE = 'beside the config'\n")
    read_config('below/cfg.py')
    assert sys.modules.pop('which_one').PLACE == 'here'
    (here / 'which_one.py').unlink()
    sys.path_importer_cache.clear()
    read_config('below/cfg.py')
    assert sys.modules.pop('which_one').PLACE == 'beside the config'
    assert sys.path[-2:] == [str(here), str(below)]


@pytest.mark.parametrize('failed', [True, False])
def test_imports_that_may_fail(here, failed):
    (here / 'cfg.py').write_text(
        MODEL + f"custom_imports = dict(imports=['no_such'], allow_failed_imports={failed})\n"
    )
    if failed:
        with pytest.warns(UserWarning, match='no_such'):
            read_config('cfg.py')
    else:
        with pytest.raises(
            InputError, match=r'cfg\.py: custom_imports: there is no module no_such'
        ):
            read_config('cfg.py')


def test_keys_below_a_none(tmp_path):
    """As a warning of ours advises for ``init_cfg``."""
    path = tmp_path / 'own.py'
    path.write_text('model = dict(a=[dict(b=None, c=None)], d=None, e=3)')
    options = {'model.a.0.b.x': 1, 'model.a.0.b.y': 2, 'model.d.x.y': 'z'}
    model = dict(a=[dict(b=dict(x=1, y=2), c=None)], d=dict(x=dict(y='z')), e=3)
    assert read_config(str(path), options).model == model
    with pytest.raises(InputError, match=r'model\.e is 3, which has no x'):
        read_config(str(path), {'model.e.x.y': 1})


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({'model.a.1': 5}, dict(a=[1, 5], b=(1, [2, 3]), c=[dict(d=[4, 5])])),
        ({'model.b.0': None}, dict(a=[1, 2], b=(None, [2, 3]), c=[dict(d=[4, 5])])),
        ({'model.b.1.1': (6,)}, dict(a=[1, 2], b=(1, [2, (6,)]), c=[dict(d=[4, 5])])),
        ({'model.c.0.d.0': 7, 'model.a.0': 8}, dict(a=[8, 2], b=(1, [2, 3]), c=[dict(d=[7, 5])])),
    ],
)
def test_elements_of_lists_and_tuples(tmp_path, options, expected):
    """mmengine sets keys of dicts in lists, not elements such as ``model.backbone.out_indices.0``."""
    path = tmp_path / 'c.py'
    path.write_text('model = dict(a=[1, 2], b=(1, [2, 3]), c=[dict(d=[4, 5])])\n')
    assert read_config(str(path), options).model == expected
    with pytest.raises(InputError, match=r'model\.a is a list of 2; 2 is not a valid index'):
        read_config(str(path), {'model.a.2': 1})


@pytest.mark.parametrize(
    'line',
    ['from torch.optim import SGDD', 'from torch.optimm import SGDD', 'import torchh as SGDD'],
)
def test_classes_that_a_config_imports_are_looked_up_when_they_are_read(here, line):
    (here / 'lazy.py').write_text(
        LAZY.replace('from torch.optim import SGD', line).replace('=SGD,', '=SGDD,')
    )
    with pytest.raises(InputError, match=r'(?s)^[^\n]*(SGDD|optimm|torchh)[^\n]*$'):
        read_config('lazy.py')


@pytest.mark.parametrize(
    ('name', 'taken'),
    [
        ('torch.nn.ReLU', 'ReLU'),  # mmdet's builders take such a name for one of a module's own
        ('torch.nn.modules.activation.ReLU', 'ReLU'),
        ('mmseg.ReLU', None),
        ('torch.nn.ReLU.forward', None),
        ('no_such.module.ReLU', None),
        ('ReLU', None),
        ('a. b..c', None),
        ('torch.optim.NoSuch', None),  # of a module, but nothing in it
        ('os.path.sep', None),
    ],
)
@pytest.mark.parametrize('inside', ['dict', 'list'])
def test_names_that_a_runner_wrote_for_classes(here, name, taken, inside):
    """A lazy config is dumped into the work dir with its classes' dotted names."""
    part = dict(type=name, inplace=True)
    Config(dict(model=dict(type='A', parts=part if inside == 'dict' else [(part,)]))).dump('a.py')
    cfg = read_config('a.py', {'model.act.type': name})
    found = cfg.model.parts if inside == 'dict' else cfg.model.parts[0][0]
    for kind in (found.type, cfg.model.act.type):
        assert kind == name if taken is None else kind.__name__ == taken
    cfg.dump('b.py')
    again = read_config('b.py')
    assert again.model == cfg.model and again.model.type != name


def test_paths_of_pathlib_are_texts(here):
    Path('a.py').write_text(
        "pathlib = __import__('pathlib')  # openmmlab's mmengine imports lazily where a config imports\n"
        "model = dict(type='A', init_cfg=[dict(checkpoint=pathlib.Path('b.pth'))])\n"
        "load_from = pathlib.Path('~') / 'c.pth'\n"
    )
    cfg = read_config('a.py')
    assert (cfg.model.init_cfg[0].checkpoint, cfg.load_from) == ('b.pth', '~/c.pth')


def test_paths_of_pathlib_are_still_paths(here):
    """Classes of the user's own may go on with what the config has, and what is written down is read again."""
    Path('a.py').write_text(
        "pathlib = __import__('pathlib')\n"
        "model = dict(type='A', root=pathlib.Path('b/c.tar.gz'), lists=([pathlib.Path('d')], pathlib.Path('e')))\n"
    )
    model = read_config('a.py').model
    copies = [model.root, copy.deepcopy(model).root, copy.deepcopy([model.root])[0]]
    for root in copies:
        assert (root / 'x', root.parent, root.stem) == (Path('b/c.tar.gz/x'), Path('b'), 'c.tar')
        assert (
            os.path.join(root, 'x') == 'b/c.tar.gz/x' and root.endswith('.gz') and not root.exists()
        )
        assert json.dumps(root) == '"b/c.tar.gz"' and repr(root) == "'b/c.tar.gz'"
    assert [text / 'f' for text in (*model.lists[0], model.lists[1])] == [Path('d/f'), Path('e/f')]
    assert type(pickle.loads(pickle.dumps(model.root))) is str  # as in a checkpoint
    with pytest.raises(AttributeError, match='nothing'):
        model.root.nothing  # noqa: B018
    read_config('a.py').dump('b.py')
    assert read_config('b.py').model == model


def test_a_misspelt_path(tmp_path):
    (tmp_path / 'fan_hybrid_s_cityscapes.py').touch()
    with pytest.raises(InputError) as mistake:
        read_config(str(tmp_path / 'fan_hybrid_s_cityscape.py'))
    near = tmp_path / 'fan_hybrid_s_cityscapes.py'
    assert str(mistake.value).endswith(f'fan_hybrid_s_cityscape.py; did you mean {near}?')
