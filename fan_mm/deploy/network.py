"""What of a model goes into a graph: from an image tensor to scores, probabilities, labels or features."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel, revert_sync_batchnorm
from torch import Tensor, nn

from fan_mm.deploy.predictions import check_predictions
from fan_mm.engine.exported_model import swaps_colours
from fan_mm.engine.input_channels import input_channels
from fan_mm.errors import InputError, first_line

OUTPUTS = ('logits', 'probabilities', 'labels')
PARTS = ('whole', 'features')


def not_taken(size: Sequence[int], error: Exception, others: str = '') -> InputError:
    """The error of a model that fails at a size.

    Args:
        size: height and width in pixels.
        error: what the model raised; of memory it is raised again: the command line has a line for it.
        others: what it does not take either.
    """
    if isinstance(error, MemoryError) or 'memory' in str(error):
        raise error
    return InputError(
        f'the model does not accept {size[0]}x{size[1]} pixels{others}: {first_line(error)}'
    )


class Network(nn.Module):
    """A classification or segmentation model without data samples, or the features of any model with a backbone.

    Of a model without one, such as mmpretrain's TimmClassifier, the scores are what it gives in mmengine's
    mode 'tensor'.

    Args:
        model: a model of mmpretrain, mmseg or mmdet with its weights; SyncBN becomes BN.
        task: 'classification', 'segmentation' or 'detection'.
        output: one of `OUTPUTS`: logits ``(B, K)``, for segmentation ``(B, K, H, W)`` at the size
            of the input; their softmax (sigmoid, if one channel represents two classes or for
            multi-label classifiers); or labels, int64 ``(B,)``, for segmentation uint8 ``(B, H,
            W)`` (int64 for 257 or more classes).
        part: one of `PARTS`: 'features' outputs the maps of backbone and neck.
        preprocessing: take uint8 RGB ``(B, H, W, 3)`` and normalise it inside, rather than the
            normalised float ``(B, C, H, W)`` that the model's data_preprocessor computes.
        size: height and width of an input that the model accepts, for a trial run.

    Raises:
        InputError: this model has no such output, predicts by other scores, or does not take the size, in
            one line.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: BaseModel,
        task: str,
        output: str = 'logits',
        part: str = 'whole',
        preprocessing: bool = False,
        size: tuple[int, int] = (64, 64),
    ) -> None:
        super().__init__()
        if task == 'detection' and part == 'whole':
            raise InputError(
                'the boxes of a detector need operators that no ONNX runtime supports (NMS per '
                'class, RoIAlign of mmcv): --part features exports its backbone and neck'
            )
        self.model: Any = _with_open_sizes(revert_sync_batchnorm(model)).cpu().float().eval()
        self.task, self.output, self.part = task, output, part
        self.preprocessing, self.size = preprocessing, size
        self.sigmoid, self.threshold = False, 0.5
        self.several = False  # whether a classifier may name several classes
        self.wraps = getattr(model, 'backbone', None) is None
        if self.wraps and part == 'features':
            raise InputError(
                f'{type(model).__name__} has no backbone whose features could be exported: take a model that '
                'has the network as its backbone (such as an ImageClassifier with a TIMMBackbone and a head)'
            )
        run: Any = self.model if self.wraps else self.model.extract_feat
        self.channels = input_channels(self.model, run, size)
        if part == 'whole':
            self._check_scores()
            check_predictions(self)
        if preprocessing:
            self._keep_normalisation()

    @property
    def output_names(self) -> list[str]:
        """Names of the graph's outputs; features are numbered from the finest map."""
        if self.part == 'whole':
            return [self.output]
        with torch.no_grad():
            return [f'features{i}' for i in range(len(self(self.example(1, *self.size))))]

    def example(self, batch: int, height: int, width: int, seed: int = 0) -> Tensor:
        """A random input of a given size, as the graph expects it."""
        generator = torch.Generator().manual_seed(seed)
        if self.preprocessing:
            shape = (batch, height, width, 3)
            return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
        return torch.randn(batch, self.channels, height, width, generator=generator)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Map images to the output, or to a tuple of features."""
        if self.preprocessing:
            images = (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
        if self.part == 'features':
            features = self.model.extract_feat(images)
            return tuple(features) if isinstance(features, list | tuple) else (features,)
        logits = self.logits(images)
        if self.output == 'logits':
            return logits
        if self.output == 'probabilities':
            return logits.sigmoid() if self.sigmoid else logits.softmax(1)
        return self.labels(logits)

    def logits(self, images: Tensor) -> Tensor:
        """Scores of normalised images, for segmenters at their size."""
        head = self._head()
        scores = self.model(images) if head is None else head(self.model.extract_feat(images))
        if self.task == 'classification':
            return scores
        return F.interpolate(
            scores,
            size=images.shape[2:],
            mode='bilinear',
            align_corners=getattr(head, 'align_corners', False),
        )

    def labels(self, logits: Tensor) -> Tensor:
        """The class of every image or pixel."""
        if self.sigmoid:
            labels = (logits[:, 0].sigmoid() > self.threshold).long()
        else:
            labels = logits.argmax(1)
        small = self.task == 'segmentation' and logits.shape[1] <= 256
        return labels.to(torch.uint8) if small else labels

    def _head(self) -> nn.Module | None:
        """The head that computes scores from features; None if the model does not name one."""
        if self.wraps:
            return None
        name = 'head' if self.task == 'classification' else 'decode_head'
        head: nn.Module | None = getattr(self.model, name, None)
        return head

    def _check_scores(self) -> None:
        head = self._head()
        if not self.wraps and (not isinstance(head, nn.Module) or isinstance(head, nn.ModuleList)):
            raise InputError(
                f'{type(self.model).__name__} has no single head that computes scores from features: --part '
                'features exports its backbone and neck'
            )
        scores = self._scores(head)
        if not isinstance(scores, Tensor) or scores.ndim != (
            4 if self.task == 'segmentation' else 2
        ):
            name = type(self.model if head is None else head).__name__
            raise InputError(
                f'{name} gives no plain scores ((B, K), or (B, K, H, W) for segmenters) that its library turns '
                'into predictions'
                + ('' if self.wraps else ': --part features exports backbone and neck')
            )
        if self.task == 'segmentation':
            self.sigmoid = scores.shape[1] == 1
            threshold = getattr(head, 'threshold', None)
            self.threshold = 0.3 if threshold is None else threshold  # mmseg's own
        elif 'MultiLabel' in ' '.join(base.__name__ for base in type(head).__mro__):
            self.sigmoid = self.several = True
            if self.output == 'labels':
                raise InputError(
                    f'{type(head).__name__} may predict several classes: export probabilities'
                )

    @torch.no_grad()
    def _scores(self, head: nn.Module | None) -> Any:
        """What the head, or the whole model, gives; None where it asks for more than features or images.

        Raises:
            InputError: backbone or neck do not take the size.
        """
        given: Any = torch.zeros(1, self.channels, *self.size)
        if head is not None:
            try:
                given = self.model.extract_feat(given)
            except Exception as error:  # whatever the model's parts raise
                raise not_taken(self.size, error) from None
        try:
            return (self.model if head is None else head)(given)
        except (TypeError, NotImplementedError):  # an argument is missing, or it has only losses
            return None
        except Exception as error:  # see above
            raise not_taken(self.size, error) from None

    def _keep_normalisation(self) -> None:
        made = self.model.data_preprocessor
        if self.channels != 3:
            raise InputError(
                f'--with-preprocessing: the file would take RGB images, but the model takes {self.channels} channels'
            )
        if getattr(made, 'mean', None) is None or not swaps_colours(made):
            raise InputError(
                f'--with-preprocessing: {type(made).__name__} of this config does not convert BGR to '
                'RGB and normalise, so the input that the network expects for an RGB image is not known'
            )
        for name in ('mean', 'std'):
            value = getattr(made, name).detach().cpu().float().reshape(1, 3, 1, 1)
            self.register_buffer(name, value)


class _Enlarge(nn.Module):
    """mmseg's ``Upsample`` by a whole factor, without constants in the graph.

    Its ``int(t * scale_factor)`` is a constant in a graph.
    """

    def __init__(self, factor: int, mode: str, align_corners: bool | None) -> None:
        super().__init__()
        self.factor, self.mode, self.align_corners = factor, mode, align_corners

    def forward(self, x: Tensor) -> Tensor:
        size = [length * self.factor for length in x.shape[2:]]
        return F.interpolate(x, size, mode=self.mode, align_corners=self.align_corners)


def _with_open_sizes(model: nn.Module) -> nn.Module:
    """Replace those of a model's modules that would fix sizes within a graph."""
    child: Any  # torch knows of its tensors and modules alone
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            factor = getattr(child, 'scale_factor', None)
            mmseg = type(child).__name__ == 'Upsample' and type(child) is not nn.Upsample
            if mmseg and not child.size and isinstance(factor, float) and factor.is_integer():
                setattr(parent, name, _Enlarge(int(factor), child.mode, child.align_corners))
    return model
