"""Testing in mixed precision: float16 autocast on a GPU, bfloat16 autocast on a CPU."""

from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device

from fan_mm.config_parts import scope_of
from fan_mm.engine.onnx_file import is_onnx
from fan_mm.errors import InputError
from fan_mm.logs import warn

_BF16_FLAGS = ('avx512_bf16', 'amx_bf16', 'bf16', 'svebf16')


def use_half_precision(cfg: Config, checkpoint: str) -> None:
    """Change a config such that mmengine's test loop evaluates under autocast.

    Raises:
        InputError: autocast has no effect on the model: an exported file, or a detector on a CPU, whose
            operators do not support bfloat16.
    """
    if is_onnx(checkpoint):
        raise InputError(
            f'--amp: {checkpoint} runs in the precision with which it was exported '
            '(tools/export.py --precision)'
        )
    if get_device() == 'cpu':
        if scope_of(cfg) == 'mmdet':
            raise InputError(
                '--amp: operators of detectors (NMS) do not support bfloat16, the precision of --amp '
                'on a CPU: leave --amp out, or use a GPU'
            )
        if not cpu_has_bfloat16():
            warn('--amp: this CPU has no bfloat16 instructions; float32 may be faster')
    cfg.test_cfg = ConfigDict(cfg.get('test_cfg') or {}, fp16=True)


def cpu_has_bfloat16() -> bool:
    """Whether the CPU supports bfloat16 products; True if unknown."""
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return True
    flags = [line.split() for line in lines if line.lower().startswith(('flags', 'features'))]
    return not flags or any(flag in flags[0] for flag in _BF16_FLAGS)


def autocast_name() -> str:
    """The type that mmengine's autocast uses on this machine."""
    return 'bf16 autocast' if get_device() == 'cpu' else 'fp16 autocast'
