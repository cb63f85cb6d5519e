"""What the exporter leaves with a graph's nodes: the layers that they belong to."""

from typing import Any

NAME_SCOPES = 'pkg.torch.onnx.name_scopes'


def scopes_of(node: Any) -> list[str]:
    """Names of the layers that a node belongs to, the outermost first; the network itself has ''."""
    for entry in node.metadata_props:
        if entry.key == NAME_SCOPES:
            listed = [part.strip().strip('\'"') for part in entry.value.strip('[]').split(',')]
            return listed[:-1]  # the last is the operation
    return []
