"""Reductions of a graph, in the form that every runtime computes rightly.

OpenVINO (2026.4) reduces the last of three axes and merges what follows into the same step. Where that is a
constant per channel (a bias, a batch norm, a PReLU's slope) it takes the wrong channels', with no error, unless
the reduced axis is still there when the step ends.
"""

from typing import Any

from fan_mm.deploy.graph import NAME_SCOPES


def squeeze_afterwards(proto: Any) -> None:
    """Let reductions keep the axes that they reduce, and take these out by an operator of their own.

    The values are the same. What reduces all axes, without a list of them, stays as it is.

    Args:
        proto: onnx's ``ModelProto``, of opset 18 or later; modified in place.
    """
    import onnx

    nodes = []
    for node in proto.graph.node:
        nodes.append(node)
        keeps = next((entry for entry in node.attribute if entry.name == 'keepdims'), None)
        reduces = node.op_type.startswith('Reduce') and len(node.input) == 2 and node.input[1]
        if not reduces or keeps is None or keeps.i:
            continue
        keeps.i = 1
        made = node.output[0]
        node.output[0] = f'{made}_kept'
        squeeze = onnx.helper.make_node(
            'Squeeze', [node.output[0], node.input[1]], [made], name=f'{node.name}_squeeze'
        )
        for entry in node.metadata_props:
            if entry.key == NAME_SCOPES:
                squeeze.metadata_props.add(key=entry.key, value=entry.value)
        nodes.append(squeeze)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
