"""The student of STL, which learns the classes of images and the token labels of a teacher."""

import os

from mmengine.registry import MODELS
from mmpretrain.models import ImageClassifier
from mmpretrain.structures import DataSample
from torch import Tensor

from fan_mm.errors import InputError
from fan_mm.models.classifiers.teacher import Teacher
from fan_mm.models.heads.token_labels import KINDS


@MODELS.register_module()
class STLStudent(ImageClassifier):
    """An ``ImageClassifier`` whose tokens learn from a frozen token labeler (STL, ICCV 2023).

    The teacher is not part of the student's state dict, so checkpoints are those of plain classifiers.
    ``init_weights``, which the Runner calls before training, loads it; testing needs no teacher.

    Args:
        backbone: with ``out_type='raw'``.
        head: a `TokenLabelHead`.
        teacher: checkpoint of the token labeler, NVIDIA's or ours.
        teacher_model: the teacher's config if it differs from the student's: ``dict(backbone=..., head=...)``.
        token_labels: 'gumbel', 'argmax' or 'soft'
            (`fan_mm.models.heads.token_labels.token_labels`).
        data_preprocessor: config, by default of a `PairedDataPreprocessor`.
        **options: options of ``ImageClassifier``.

    Raises:
        InputError: unknown kind of labels, or a head without token classifier; raised by
            ``init_weights`` if the teacher's size or classes do not match.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        teacher: str | os.PathLike | None = None,
        teacher_model: dict | None = None,
        token_labels: str = 'gumbel',
        data_preprocessor: dict | None = None,
        **options: object,
    ) -> None:
        if token_labels not in KINDS:
            raise InputError(
                f'token_labels must be one of {", ".join(KINDS)}, not {token_labels!r}'
            )
        model = dict(type='mmpretrain.ImageClassifier', backbone=backbone, head=head) | (
            teacher_model or {}
        )
        pairs = dict(type='PairedDataPreprocessor') | (data_preprocessor or {})
        super().__init__(backbone, head=head, data_preprocessor=pairs, **options)
        if not hasattr(self.head, 'token_fc'):
            raise InputError('an STL student needs a TokenLabelHead')
        self.token_labels = token_labels
        self._teacher_options = model, teacher
        self.teacher: Teacher | None = None

    def init_weights(self) -> None:
        """Initialise the student and load the teacher.

        Raises:
            InputError: the teacher has a different number of classes.
        """
        super().init_weights()
        model, checkpoint = self._teacher_options
        if checkpoint is None or self.teacher is not None:
            return
        self.teacher = Teacher(model, checkpoint)
        if self.teacher.num_classes != self.head.num_classes:
            raise InputError(
                f'the teacher has {self.teacher.num_classes} classes, the student '
                f'{self.head.num_classes}'
            )

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
        teacher_inputs: Tensor | None = None,
    ) -> object:
        """As ``ImageClassifier``; the loss needs the teacher's images (B, 3, H, W) too.

        Raises:
            InputError: the teacher or its images are missing, or its number of tokens differs from the
                student's.
        """
        if mode != 'loss':
            return super().forward(inputs, data_samples, mode)
        if self.teacher is None or teacher_inputs is None:
            raise InputError(
                'an STL student needs a teacher: --cfg-options model.teacher=FILE, and a '
                'pipeline with JointRandAugment(teacher=True) and PackPairedInputs'
            )
        labels = self.teacher.label(teacher_inputs, self.token_labels, self.head.tokens == 'mean')
        feats = self.extract_feat(inputs)
        tokens = feats[-1].shape[1] - 1
        if labels.ndim > 1 and self.head.tokens == 'each' and labels.shape[1] != tokens:
            raise InputError(
                f'the teacher labels {labels.shape[1]} tokens, the student has {tokens}: both need '
                'the same stride'
            )
        return self.head.loss(feats, data_samples, labels)
