"""Losses of what happens inside a backbone."""

from fan_mm.models.losses.attention_diversity import AttentionDiversity

__all__ = ['AttentionDiversity']
