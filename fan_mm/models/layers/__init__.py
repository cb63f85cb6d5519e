"""The building blocks of FAN, one file per idea of the paper."""

from fan_mm.models.layers.activation_checkpoint import checkpoint
from fan_mm.models.layers.attention import Attention
from fan_mm.models.layers.channel_attention import (
    CHANNEL_ATTENTIONS,
    ChannelSelfAttention,
    EfficientChannelAttention,
    SqueezeExciteAttention,
)
from fan_mm.models.layers.class_attention import ClassAttention, ClassAttentionBlock
from fan_mm.models.layers.convnext_stem import ConvNeXtStem, HybridPatchEmbed
from fan_mm.models.layers.fan_block import FANBlock
from fan_mm.models.layers.layer_norm import ChannelLayerNorm
from fan_mm.models.layers.mlp import ConvMlp, DWConv, Mlp
from fan_mm.models.layers.patch_embed import ConvPatchEmbed, OverlapDownsample
from fan_mm.models.layers.position_encoding import FourierPositionEncoding
from fan_mm.models.layers.residual import residual
from fan_mm.models.layers.token_map import as_map, as_tokens, contiguous_map
from fan_mm.models.layers.token_mixing import TokenMixing
from fan_mm.models.layers.token_pooling import TokenPooling
from fan_mm.models.layers.window_attention import WindowAttention

__all__ = [
    'CHANNEL_ATTENTIONS',
    'Attention',
    'ChannelLayerNorm',
    'ChannelSelfAttention',
    'ClassAttention',
    'ClassAttentionBlock',
    'ConvMlp',
    'ConvNeXtStem',
    'ConvPatchEmbed',
    'DWConv',
    'EfficientChannelAttention',
    'FANBlock',
    'FourierPositionEncoding',
    'HybridPatchEmbed',
    'Mlp',
    'OverlapDownsample',
    'SqueezeExciteAttention',
    'TokenMixing',
    'TokenPooling',
    'WindowAttention',
    'as_map',
    'as_tokens',
    'checkpoint',
    'contiguous_map',
    'residual',
]
