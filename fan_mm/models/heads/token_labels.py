"""Token labels: what STL's teacher says about every patch token (spec section 13.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from fan_mm.errors import InputError

KINDS = ('gumbel', 'argmax', 'soft')


def token_labels(logits: Tensor, kind: str = 'gumbel') -> Tensor:
    """Turn the teacher's token logits into labels.

    Args:
        logits: ``(..., K)``, any floating type.
        kind: 'gumbel' samples one class per token from the teacher's distribution (hard
            Gumbel-softmax of temperature 1, with torch's global generator); 'argmax' takes the
            most likely class; 'soft' keeps the distribution.

    Returns:
        Classes ``(...)`` int64, or for 'soft' probabilities ``(..., K)`` float32.

    Raises:
        InputError: unknown kind.
    """
    if kind == 'argmax':
        return logits.argmax(-1)
    if kind == 'soft':
        return logits.float().softmax(-1)
    if kind != 'gumbel':
        raise InputError(f'token labels must be one of {", ".join(KINDS)}, not {kind!r}')
    # Same class and same random draws as `F.gumbel_softmax(logits, tau=1, hard=True)`, without its
    # softmax, which does not change the order.
    noise = -torch.empty_like(logits).exponential_().log()
    return (logits + noise).argmax(-1)


def token_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean cross entropy over all tokens.

    Args:
        logits: ``(..., K)``.
        labels: from `token_labels`; classes are smoothed to ``(1 - s) onehot + s / K``, soft labels
            are not.
        smoothing: s.
    """
    logits = logits.float().flatten(0, -2)
    if labels.is_floating_point():
        return F.cross_entropy(logits, labels.flatten(0, -2))
    return F.cross_entropy(logits, labels.flatten(), label_smoothing=smoothing)
