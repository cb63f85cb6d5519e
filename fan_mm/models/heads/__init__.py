"""Classification heads; importing this needs mmpretrain."""

from fan_mm.models.heads.token_label_head import TokenLabelHead

__all__ = ['TokenLabelHead']
