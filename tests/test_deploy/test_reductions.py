"""Reductions keep their axes, which an operator behind them takes out; `test_runtimes.py` computes them."""

import pytest

onnx = pytest.importorskip('onnx')

from fan_mm.deploy.graph import NAME_SCOPES  # noqa: E402
from fan_mm.deploy.reductions import squeeze_afterwards  # noqa: E402


def model(op, inputs, **attributes):
    """Of one node, and another before and behind it."""
    node = onnx.helper.make_node(op, ['a', *inputs], ['b'], name='node', **attributes)
    node.metadata_props.add(key='other', value='x')
    node.metadata_props.add(key=NAME_SCOPES, value='scopes')
    before, behind = (
        onnx.helper.make_node('Relu', [one], [other], name=one) for one, other in ('xa', 'by')
    )
    graph = onnx.helper.make_graph([before, node, behind], 'graph', [], [])
    return onnx.helper.make_model(graph)


@pytest.mark.parametrize('op', ['ReduceSum', 'ReduceMean', 'ReduceL2'])
def test_the_axes_are_taken_out_afterwards(op):
    proto = model(op, ['axes'], noop_with_empty_axes=0, keepdims=0)
    squeeze_afterwards(proto)
    before, reduces, squeezes, behind = proto.graph.node
    assert (before.output, behind.input) == (['a'], ['b'])
    assert (reduces.input, reduces.output) == (['a', 'axes'], ['b_kept'])
    assert {a.name: a.i for a in reduces.attribute} == {'noop_with_empty_axes': 0, 'keepdims': 1}
    assert (squeezes.op_type, squeezes.name) == ('Squeeze', 'node_squeeze')
    assert (squeezes.input, squeezes.output) == (['b_kept', 'axes'], ['b'])
    assert [(p.key, p.value) for p in squeezes.metadata_props] == [(NAME_SCOPES, 'scopes')]


@pytest.mark.parametrize(
    ('op', 'inputs', 'attributes'),
    [
        ('ReduceSum', ['axes'], dict(keepdims=1)),
        ('ReduceSum', ['axes'], {}),  # which keeps them
        ('ReduceSum', [], dict(keepdims=0)),  # of all axes
        ('ReduceSum', [''], dict(keepdims=0)),
        ('ArgMax', ['axes'], dict(keepdims=0)),
    ],
)
def test_what_stays(op, inputs, attributes):
    proto = model(op, inputs, **attributes)
    before = proto.SerializeToString()
    squeeze_afterwards(proto)
    assert proto.SerializeToString() == before
