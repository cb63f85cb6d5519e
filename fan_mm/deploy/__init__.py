"""Deployment: networks as ONNX files, verified against PyTorch."""

from fan_mm.deploy.network import OUTPUTS, PARTS, Network
from fan_mm.deploy.onnx_export import (
    MAKERS_OPSET,
    export_onnx,
    require_onnx,
    write_metadata,
)
from fan_mm.deploy.verification import Verification, first_difference, shapes_to_try, verify

__all__ = [
    'MAKERS_OPSET',
    'OUTPUTS',
    'PARTS',
    'Network',
    'Verification',
    'export_onnx',
    'first_difference',
    'require_onnx',
    'shapes_to_try',
    'verify',
    'write_metadata',
]
