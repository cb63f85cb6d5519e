"""Which layers a node of a graph belongs to, by what PyTorch's exporter leaves with it."""

from types import SimpleNamespace

import pytest

from fan_mm.deploy.graph import NAME_SCOPES, scopes_of


@pytest.mark.parametrize(
    ('scopes', 'found'),
    [
        ("['', 'backbone', 'backbone.conv', 'conv2d']", ['', 'backbone', 'backbone.conv']),
        ("['', 'add_1']", ['']),
        (None, []),
    ],
)
def test_scopes_stand_among_other_entries(scopes, found):
    entries = {
        'namespace': ': Model/head: Head',
        'pkg.torch.onnx.fx_node': '%add : [num_users=1]',
        NAME_SCOPES: scopes,
        'pkg.torch.onnx.stack_trace': "File 'a.py', line 1",
    }
    node = SimpleNamespace(
        metadata_props=[
            SimpleNamespace(key=k, value=v) for k, v in entries.items() if v is not None
        ]
    )
    assert scopes_of(node) == found
