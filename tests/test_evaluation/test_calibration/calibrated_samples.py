"""Logits, labels and predictions to be calibrated, and data samples that hold them."""

import torch


def a_map(classes=7, size=(37, 53), seed=0, spread=2.0):
    """Logits, labels that are right in half of the pixels and ignored in some, and the prediction."""
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(classes, *size, generator=generator)
    labels = torch.randint(0, classes, size, generator=generator)
    labels[20:] = logits.argmax(0)[20:]
    labels[:3] = 255
    return logits, labels, logits.argmax(0)


def sample(**changes):
    logits, labels, predicted = a_map()
    parts = {'seg_logits': logits, 'gt_sem_seg': labels[None], 'pred_sem_seg': predicted[None]}
    parts |= changes
    return {name: {'data': data} for name, data in parts.items() if data is not None}


def picture(score, label=0):
    return {'pred_score': torch.tensor(score), 'gt_label': torch.as_tensor(label).reshape(-1)}
