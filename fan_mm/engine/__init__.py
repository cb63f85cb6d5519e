"""Training and testing with mmengine's Runner: preparation, checks, resuming, optimizers.

`config` reads third-party configs and builds their parts, `checks` checks the files and classes they refer
to, and `first_batch` tries one batch before a long run starts.
"""

from fan_mm.engine.attention_diversity import AttentionDiversityHook
from fan_mm.engine.broadcast_buffers import BroadcastBuffersHook
from fan_mm.engine.config_checks import check_config
from fan_mm.engine.cosine_schedule import WarmupCosineCooldownLR
from fan_mm.engine.cpu_amp import CpuAmpOptimWrapper
from fan_mm.engine.epoch_seed import EpochSeedHook
from fan_mm.engine.feature_amp import FeatureAmpOptimWrapper
from fan_mm.engine.layer_decay import LayerDecayOptimWrapperConstructor
from fan_mm.engine.runtime import build_runner, prepare_runtime
from fan_mm.engine.safe_loading import use_safe_loading

__all__ = [
    'AttentionDiversityHook',
    'BroadcastBuffersHook',
    'CpuAmpOptimWrapper',
    'EpochSeedHook',
    'FeatureAmpOptimWrapper',
    'LayerDecayOptimWrapperConstructor',
    'WarmupCosineCooldownLR',
    'build_runner',
    'check_config',
    'prepare_runtime',
    'use_safe_loading',
]
