"""Deployment: networks as ONNX files, verified against PyTorch."""

from fan_mm.deploy.half_precision import to_half
from fan_mm.deploy.network import OUTPUTS, PARTS, Network
from fan_mm.deploy.onnx_export import MAKERS_OPSET, export_onnx, require_onnx, write_metadata
from fan_mm.deploy.pictures import TrainingPictures
from fan_mm.deploy.program import write_program
from fan_mm.deploy.quantisation import to_int8
from fan_mm.deploy.tensorrt_engine import require_tensorrt, write_engine
from fan_mm.deploy.verification import BOUNDS, Verification, first_difference, shapes_to_try, verify

__all__ = [
    'BOUNDS',
    'MAKERS_OPSET',
    'OUTPUTS',
    'PARTS',
    'Network',
    'TrainingPictures',
    'Verification',
    'export_onnx',
    'first_difference',
    'require_onnx',
    'require_tensorrt',
    'shapes_to_try',
    'to_half',
    'to_int8',
    'verify',
    'write_engine',
    'write_metadata',
    'write_program',
]
