"""The frozen token labeler behind an STL student."""

import os
from collections.abc import Mapping

import torch
from mmengine.registry import MODELS
from torch import Tensor

from fan_mm.errors import InputError, about
from fan_mm.models.checkpoints import load_strictly
from fan_mm.models.conversion import classifier_state
from fan_mm.models.heads.token_labels import token_labels
from fan_mm.torch_files import read_torch_file


class Teacher:
    """A token labeler in eval mode that is not part of the student's parameters, state dict or copies.

    Args:
        model: config of an ``ImageClassifier`` with a `TokenLabelHead`.
        checkpoint: its weights; EMA weights are preferred, see `classifier_state`.

    Raises:
        InputError: the checkpoint does not fit, or the head has no token classifier.
    """

    def __init__(self, model: dict, checkpoint: str | os.PathLike | None) -> None:
        model = dict(model, data_preprocessor=None)
        backbone = dict(model['backbone'], out_type='raw', drop_path_rate=0.0, init_cfg=None)
        self.model = MODELS.build(dict(model, backbone=backbone))
        if not hasattr(self.model.head, 'token_fc'):
            raise InputError('the teacher has no token labels: its head must be a TokenLabelHead')
        self.num_classes = self.model.head.num_classes
        if checkpoint is not None:
            self._load(checkpoint)
        self.model.eval().requires_grad_(False)

    def _load(self, checkpoint: str | os.PathLike) -> None:
        content = read_torch_file(checkpoint)
        with about(f'teacher {checkpoint}'):
            state, _ = classifier_state(content, 'ema')
            self._check_heads(state)
        load_strictly(self.model, state, f'teacher {checkpoint}')

    def _check_heads(self, state: Mapping[str, Tensor]) -> None:
        if 'head.token_fc.weight' not in state:
            raise InputError(
                'it does not classify tokens; train a teacher with a *_stl_teacher_* config'
            )
        classes, expected = len(state['head.token_fc.weight']), self.num_classes
        if classes != expected:
            raise InputError(f'it has {classes} classes, the config has {expected}')

    def __deepcopy__(self, memo: dict) -> 'Teacher':
        """The averaged copy of a student shares its teacher."""
        return self

    def label(self, images: Tensor, kind: str, mean: bool) -> Tensor:
        """Label the tokens of normalised images (B, 3, H, W).

        Runs in inference mode, and under autocast on a GPU or if the training uses mixed precision.

        Args:
            images: the teacher's images.
            kind: see `fan_mm.models.heads.token_labels.token_labels`.
            mean: return one label per image, for the mean of its token logits.
        """
        device = images.device
        if next(self.model.parameters()).device != device:
            self.model.to(device)
        mixed = device.type != 'cpu' or torch.is_autocast_enabled('cpu')
        dtype = torch.bfloat16 if device.type == 'cpu' else torch.float16
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=mixed):
            _, logits = self.model.head.logits(self.model.backbone(images))
            logits = logits.float()
            labels = token_labels(logits.mean(1) if mean else logits, kind)
        return labels.clone()  # outside of inference mode: autograd rejects inference tensors
