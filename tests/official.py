"""What is known about the official models: key names, shapes, and the goldens with their rule.

``tests/data/official_keys.json.gz`` lists every key with its shape; ``tests/data/golden`` holds
outputs of the official code for weights that follow from the key names alone.
"""

import functools
import gzip
import json
import re
import zlib
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parent / 'data'
VARIANTS = json.loads(gzip.decompress((DATA / 'official_keys.json.gz').read_bytes()))
BACKBONES = [name for name in VARIANTS if 'segformer_head' not in name]
ARCHS = dict(tiny='tiny', small='small', base='base', large='large', Xlarge='xlarge')


def keys(name: str) -> dict[str, list[int]]:
    """Key and shape of every entry of an official state dict."""
    return VARIANTS[name]['keys']


def value(key: str, shape: list[int]) -> torch.Tensor:
    """The goldens' deterministic fill: what an official parameter was set to."""
    leaf = key.split('.')[-1]
    if leaf == 'num_batches_tracked':
        return torch.tensor(0)
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    n = rng.standard_normal(tuple(shape)).astype(np.float32)
    if leaf == 'running_var':
        filled = np.float32(1) + np.float32(0.1) * np.abs(n)
    else:
        filled = n * np.float32(0.05)
    if leaf in ('gamma', 'gamma1', 'gamma2', 'temperature') or (
        leaf == 'weight' and len(shape) == 1
    ):
        filled = filled + np.float32(1)
    return torch.from_numpy(np.asarray(filled, dtype=np.float32))


def state_dict(name: str, prefix: str = '', device: str = 'cpu') -> dict[str, torch.Tensor]:
    """An official model's state dict with the goldens' values; empty ones on the meta device.

    Buffers that the official code derives (masks, indices) are zeros.
    """
    state = {}
    for key, shape in keys(name).items():
        if device == 'meta' or key.endswith(('attn_mask', 'relative_position_index')):
            state[prefix + key] = torch.zeros(shape, device=device)
        else:
            state[prefix + key] = value(prefix + key if prefix == 'decode_head.' else key, shape)
    return state


def dense(name: str) -> bool:
    """Whether it is a backbone of segmentors or detectors; else a classifier."""
    return name.startswith(('seg_', 'det_', 'stl_det_'))


def backbone_config(name: str) -> dict:
    """Our config of an official model."""
    arch = ARCHS[re.search('tiny|small|base|Xlarge|large', name + 'small')[0]]
    if name == 'seg_FANSwinTransformer':
        switches = dict(channel_heads=8, mlp_identity=True, always_shift=True)
        return dict(type='FANSwin', arch='small', out_indices=(0, 1, 2, 3), **switches)
    if 'swin' in name:
        return dict(type='FANSwin', arch=arch, out_type='avg_featmap')
    hybrid = 'hybrid' in name
    config = dict(type='FANHybrid' if hybrid else 'FANViT', arch=arch)
    if 'tap_' in name:  # the dense copy of the official FAN-ViT has a single scale
        config['token_pooling'] = keys(name)['blocks.0.dilation_predictor.proj.1.weight'][0]
    if dense(name):
        config['out_indices'] = (0, 1, 2, 3) if hybrid else (4, 7, 11, 12)
        config['paired_frequencies'] = False
        if 'det_' in name:
            config['last_stage_channels'] = 768
            config['out_norm'] = 'out_norm0.weight' in keys(name)
    else:
        config['out_type'] = 'cls_token'
        if '_se_' in name:
            config['channel_attention'] = 'se'
    return config


@functools.cache
def golden(name: str) -> dict[str, np.ndarray]:
    """Arrays of one golden file."""
    with np.load(DATA / 'golden' / f'{name}.npz') as arrays:
        return dict(arrays)


def images(*shape: int) -> torch.Tensor:
    """The goldens' input."""
    return torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def reduced(x: torch.Tensor, samples: int = 256) -> np.ndarray:
    """What the goldens keep of a large tensor: every n-th value in C order."""
    flat = x.contiguous().flatten()
    return flat[:: -(-flat.numel() // samples)].numpy()
