"""``--cfg-options`` as mmengine reads them, but for what it would lose."""

import pytest
from mmengine.config import DictAction

from fan_mm.cli import tool_parser
from fan_mm.engine.arguments import add_config_arguments


def options(*texts):
    parser = tool_parser('', '')
    add_config_arguments(parser)
    return parser.parse_args(['--cfg-options', *texts]).cfg_options


@pytest.mark.parametrize(
    'text',
    ['3', '-1', '1e-3', 'True', 'None', 'abc', '1,2', '[1,2]', '(1,)', '[(1, 2), [a, b], c]']
    + ['[]', '()', '[None,true,1.5]', '"[a,b]"', "['a','b']", '[ 1 , 2 ]', 'a=b', '( 3,4 )', 'x(1)'],
)  # fmt: skip
def test_values_are_mmengines(text):
    assert options(f'a.b={text}') == {'a.b': DictAction._parse_iterable(text)}


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('/my data/set (1)/x', '/my data/set (1)/x'),
        ('  /my data ', '/my data'),
        ("'/my data'", '/my data'),
        ('[traffic light, person]', ['traffic light', 'person']),
        ("('traffic light', 'a b  c')", ('traffic light', 'a b  c')),
        ('/a b, /c d', ['/a b', '/c d']),
        ('[(a b, 1), [ c d ]]', [('a b', 1), ['c d']]),
    ],
)
def test_spaces_within_a_value_stay(text, value):
    """mmengine makes ``/mydata`` of ``/my data`` and the class ``trafficlight``."""
    assert options(f'a.b={text}') == {'a.b': value}


@pytest.mark.parametrize('text', ["{'type': 'A'}", "dict(type='A')", ' {}'])
def test_dicts_are_set_key_by_key(text, capsys):
    with pytest.raises(SystemExit):
        options(f'a={text}')
    assert 'set a dict key by key, a.KEY=VALUE' in capsys.readouterr().err
