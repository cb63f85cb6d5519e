"""The two classifiers of STL: of the class token and of the patch tokens (spec 4.3 and 13)."""

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from mmpretrain.models.heads import ClsHead
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from fan_mm.errors import InputError
from fan_mm.models.heads.token_labels import token_cross_entropy

TOKENS = ('mean', 'each')
SCORES = ('class', 'ensemble', 'tokens')
ENSEMBLE_WEIGHT = 0.5


@MODELS.register_module()
class TokenLabelHead(ClsHead):
    r"""Class and token classifiers of a self-emerging token labeling model (STL, ICCV 2023).

    With the class logits :math:`z_c` (K) and token logits :math:`z_t` (N, K) of an image, the
    smoothed class target :math:`y`, and the teacher's token labels :math:`l_t`, if any:

    .. math::
        L = w_c\,\mathrm{CE}(z_c, y) + w_t \begin{cases}
            \mathrm{CE}(\mathrm{mean}_t z_t, y) & \text{labeler, tokens='mean'} \\
            \mathrm{mean}_t\,\mathrm{CE}(z_t, y) & \text{labeler, tokens='each'} \\
            \mathrm{mean}_t\,\mathrm{CE}(z_t, l_t) & \text{student, tokens='each'} \\
            \mathrm{CE}(\mathrm{mean}_t z_t, l) & \text{student, tokens='mean'}
        \end{cases}

    The backbone must have ``out_type='raw'``.

    Args:
        num_classes: classes K.
        in_channels: channels of the tokens.
        cls_weight: :math:`w_c`.
        dense_weight: :math:`w_t`.
        tokens: 'mean' for one label for the mean of all tokens, 'each' for one label per token.
        label_smoothing: smoothing of the class targets, and of token labels that are classes.
        scores: scores used for predictions: 'class' logits, 'ensemble' (class logits + 0.5 x
            the maximum over tokens of the token logits, STL's evaluation) or 'tokens' (the mean of
            the token logits). None means 'class', or 'tokens' if the class logits are not trained.
        topk: see ``ClsHead``.
        init_cfg: mmengine's init_cfg; by default the truncated normal of the recipe.

    Raises:
        InputError: unknown option, or both weights are zero.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        cls_weight: float = 1.0,
        dense_weight: float = 1.0,
        tokens: str = 'mean',
        label_smoothing: float = 0.1,
        scores: str | None = None,
        topk: int | tuple[int, ...] = (1,),
        init_cfg: dict | None = None,
    ) -> None:
        init_cfg = init_cfg or dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0)
        super().__init__(topk=topk, init_cfg=init_cfg)
        if tokens not in TOKENS:
            raise InputError(f'tokens must be one of {", ".join(TOKENS)}, not {tokens!r}')
        scores = scores or ('class' if cls_weight else 'tokens')
        if scores not in SCORES:
            raise InputError(f'scores must be one of {", ".join(SCORES)}, not {scores!r}')
        if min(cls_weight, dense_weight) < 0 or not cls_weight + dense_weight:
            raise InputError('cls_weight and dense_weight must be at least 0, and not both 0')
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.cls_weight = cls_weight
        self.dense_weight = dense_weight
        self.tokens = tokens
        self.label_smoothing = label_smoothing
        self.scores = scores
        self.fc = nn.Linear(in_channels, num_classes)
        self.token_fc = nn.Linear(in_channels, num_classes)

    def pre_logits(self, feats: tuple[Tensor]) -> Tensor:
        """Class and patch tokens (B, 1+N, C).

        Raises:
            InputError: the backbone does not return class and patch tokens.
        """
        if feats[-1].ndim != 3:
            raise InputError("a TokenLabelHead needs all tokens: backbone.out_type='raw'")
        return feats[-1]

    def logits(self, feats: tuple[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits (B, K) and token logits (B, N, K) from class and patch tokens (B, 1+N, C)."""
        tokens = self.pre_logits(feats)
        return self.fc(tokens[:, 0]), self.token_fc(tokens[:, 1:])

    def forward(self, feats: tuple[Tensor]) -> Tensor:
        """The scores (B, K) from which classes are predicted."""
        tokens = self.pre_logits(feats)
        if self.scores == 'tokens':
            return self.token_fc(tokens[:, 1:]).mean(1)
        scores = self.fc(tokens[:, 0])
        if self.scores == 'ensemble':
            scores = scores + ENSEMBLE_WEIGHT * self.token_fc(tokens[:, 1:]).amax(1)
        return scores

    def loss(
        self,
        feats: tuple[Tensor],
        data_samples: list[DataSample],
        token_labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses.

        Args:
            feats: tokens (B, 1+N, C) of the backbone, in a tuple.
            data_samples: with ``gt_score`` (mixed targets) or ``gt_label``.
            token_labels: labels of a teacher (`fan_mm.models.heads.token_labels`): (B, N) or (B, N,
                K); for ``tokens='mean'``, (B,) or (B, K). None for a labeler, whose tokens are trained
                on the class target.

        Returns:
            'loss_cls' and 'loss_token', including losses with weight 0, so that every parameter gets
            a gradient, and DDP needs no ``find_unused_parameters``.
        """
        cls_logits, token_logits = (z.float() for z in self.logits(feats))
        target = self._target(data_samples)
        loss_cls = self._class_loss(cls_logits, target)
        if self.tokens == 'mean':
            token_logits = token_logits.mean(1)
        if token_labels is not None:
            loss_token = token_cross_entropy(token_logits, token_labels, self.label_smoothing)
        elif self.tokens == 'mean':
            loss_token = self._class_loss(token_logits, target)
        else:
            count = token_logits.shape[1]
            loss_token = self._class_loss(
                token_logits.flatten(0, 1), target.repeat_interleave(count, dim=0)
            )
        return dict(loss_cls=self.cls_weight * loss_cls, loss_token=self.dense_weight * loss_token)

    def _class_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(logits, target, label_smoothing=self.label_smoothing)

    @staticmethod
    def _target(data_samples: list[DataSample]) -> Tensor:
        """Mixed targets (B, K), or classes (B,) where nothing was mixed."""
        if 'gt_score' in data_samples[0]:
            return torch.stack([sample.gt_score for sample in data_samples])
        return torch.cat([sample.gt_label for sample in data_samples])
