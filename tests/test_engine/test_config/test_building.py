"""Whose mistake it is that something cannot be built, and where in the config it stands."""

from urllib.error import URLError

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS, Registry

from fan_mm.engine.config.building import building, used_so
from fan_mm.engine.config.registered import missing_library
from fan_mm.errors import InputError

PARTS = Registry('part of these tests', scope='mmengine')


@PARTS.register_module()
class Whole:
    def __init__(self, inner=None, error=None):
        self.inner = inner and PARTS.build(inner)
        if error:
            raise error


CFG = Config(
    dict(
        model=dict(
            parts=[dict(type='Whole'), dict(type='Whole', inner=dict(type='Whole', size=3))]
        ),
        custom_hooks=[dict(type='NoSuchHook')],
    )
)


def test_the_innermost_part_is_named_with_its_place():
    with pytest.raises(InputError) as error, building(CFG):
        PARTS.build(CFG.model.parts[1])
    assert str(error.value).startswith('model.parts.1.inner (Whole): TypeError: ')
    assert "unexpected keyword argument 'size'" in str(error.value)
    assert isinstance(error.value.__cause__, TypeError)


def test_names_that_nobody_has():
    with (
        pytest.raises(InputError, match=r'^custom_hooks\.0 \(NoSuchHook\): NoSuchHook is not in'),
        building(CFG),
    ):
        HOOKS.build(CFG.custom_hooks[0])


def test_parts_with_additions_are_found():
    """Runner and constructors build from copies into which they put objects."""
    with pytest.raises(InputError, match=r'^model\.parts\.0 \(Whole\): '), building(CFG):
        PARTS.build(dict(CFG.model.parts[0], params=torch.zeros(3), inner=None))


def test_what_the_original_mmengine_wraps_is_unwrapped():
    def wrapped():
        try:
            try:
                PARTS.build(dict(type='Whole', size=3))
            except TypeError as error:
                raise TypeError(f'class `Whole` in tests/x.py: {error}') from None
        except TypeError as error:
            raise TypeError(f'class `Outer` in tests/y.py: {error}') from None

    with pytest.raises(InputError) as error, building(CFG):
        wrapped()
    assert 'class `' not in str(error.value) and "'size'" in str(error.value)


def test_long_texts_are_cut_and_in_one_line():
    with pytest.raises(InputError) as error, building(CFG):
        PARTS.build(dict(type='Whole', error=ValueError('a\n' * 2000)))
    assert '\n' not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize('kind', [ValueError, AttributeError, KeyError, AssertionError])
def test_our_own_mistakes_stay_what_they_are(kind):
    with pytest.raises(kind) as error, building(CFG):
        raise kind('ours')
    assert not isinstance(error.value, InputError)
    with pytest.raises(ValueError, match='mismatch'), building(CFG):
        np.zeros(2) @ np.zeros(3)  # called by us, and not by what a config builds


@pytest.mark.parametrize(
    'error',
    [
        OSError(28, 'No space left on device'),
        RuntimeError('gloo: Connection closed by peer'),
        InputError('ours'),
    ],
)
def test_a_full_disk_a_lost_process_and_a_line_of_ours_pass(error):
    with pytest.raises(type(error)) as raised, building(CFG):
        PARTS.build(dict(type='Whole', error=error))
    assert raised.value is error


def test_what_a_class_of_somebody_else_says_while_it_is_used():
    with pytest.raises(InputError) as error, used_so('Whole takes no picture'):
        PARTS.build(dict(type='Whole', size=3))
    assert str(error.value).startswith('Whole takes no picture: TypeError: ')
    assert isinstance(error.value.__cause__, TypeError)


@pytest.mark.parametrize(
    'error',
    [
        OSError(28, 'No space left on device'),
        MemoryError(),
        RuntimeError('CUDA out of memory. Tried to allocate 2 GiB'),
        InputError('ours'),
    ],
)
def test_a_full_disk_little_memory_and_a_line_of_ours_pass(error):
    with pytest.raises(type(error)) as raised, used_so('Whole'):
        PARTS.build(dict(type='Whole', error=error))
    assert raised.value is error


def test_our_own_mistakes_pass_where_something_is_used():
    with pytest.raises(KeyError), used_so('Whole'):
        raise KeyError('ours')


def test_a_class_in_the_place_of_a_name_is_told_by_its_name():
    cfg = Config(dict(model=dict(type=Whole, size=3)))
    with pytest.raises(InputError, match=r'^model \(Whole\): TypeError'), building(cfg):
        PARTS.build(cfg.model)


@pytest.mark.parametrize('caller', ['load_url', 'somebody'])
def test_what_cannot_be_downloaded(caller, monkeypatch, tmp_path):
    """mmengine fetches 'torchvision://resnet50' of an init_cfg only where a model is initialised."""
    monkeypatch.setattr('torch.hub.get_dir', lambda: str(tmp_path))
    source = f"def {caller}(url):\n    raise URLError('Name not known')"
    names = dict(URLError=URLError)
    exec(source, names)
    with pytest.raises(InputError) as error, building(CFG):
        names[caller]('https://a.b/c.pth')
    line = 'what the config names cannot be fetched: Name not known'
    if caller == 'load_url':
        line = (
            'cannot download https://a.b/c.pth: Name not known; without a network, put it at '
            f'{tmp_path}/checkpoints/c.pth, or name a file in its place'
        )
    assert str(error.value) == line


@pytest.mark.parametrize(
    ('kind', 'scope', 'missing'),
    [
        ('RotatedRetinaNet', 'mmrotate', 'mmrotate'),
        ('mmrotate.RotatedRetinaNet', 'mmdet', 'mmrotate'),
        ('Resnet', 'mmengine', None),
        ('mmengine.Resnet', 'mmrotate', None),
        ('Resnet', None, None),
        ('Net', 'json', None),  # installed, whatever it registers
    ],
)
def test_the_library_of_a_name_that_nobody_has(kind, scope, missing):
    assert missing_library(kind, scope) == missing
    with pytest.raises(InputError) as error, building(Config(dict(default_scope=scope))):
        MODELS.build(dict(type=kind))
    hint = f'There is no library {missing}: install it'
    assert str(error.value).endswith(hint) == (missing is not None)
