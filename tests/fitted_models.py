"""Small models that have learnt something: a ridge regression of random features, for three tasks.

They are fitted to rendered pictures in a second, are as right as such a model can be (neither perfect
nor guessing), and lose of it under every corruption.
"""

import cv2
import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import InstanceData, PixelData
from torch import nn

_SHARPNESS = 6.0  # of the softmax, by which the values of a regression are read as logits


class Regression(nn.Module):
    """Fourier features of an input, and a linear layer that is fitted in closed form."""

    def __init__(self, inputs, labels, classes, features=256, seed=0, spread=1.0):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.norm = nn.BatchNorm1d(inputs.shape[1], affine=False)
        self.norm.running_mean, self.norm.running_var = inputs.mean(0), inputs.var(0) + 1e-3
        frequencies = torch.randn(inputs.shape[1], features, generator=draw)
        self.register_buffer('frequencies', spread * frequencies / inputs.shape[1] ** 0.5)
        self.register_buffer('phases', 2 * torch.pi * torch.rand(features, generator=draw))
        self.layer = nn.Linear(features, classes)
        known = self.eval().features(inputs).double()
        wanted = nn.functional.one_hot(labels, classes).double()
        inner, centre = known - known.mean(0), wanted.mean(0)
        gram = inner.T @ inner + 1e-3 * len(inputs) * torch.eye(features)
        weight = torch.linalg.solve(gram, inner.T @ (wanted - centre)).T
        with torch.no_grad():
            self.layer.weight.copy_(weight)
            self.layer.bias.copy_(centre - weight @ known.mean(0))

    def features(self, inputs):
        return torch.cos(self.norm(inputs) @ self.frequencies + self.phases)

    def forward(self, inputs):
        return _SHARPNESS * self.layer(self.features(inputs))


class Fitted(BaseModel):
    """Predicts with a `Regression`, picture by picture.

    Args:
        pictures: BGR arrays to learn from.
        truths: their label maps, classes, or (boxes, classes).
        classes: number.
        options: of the `Regression`.
    """

    def __init__(self, pictures, truths, classes, **options):
        super().__init__()
        parts = [self.examples(p, t, classes) for p, t in zip(pictures, truths, strict=True)]
        inputs, labels = (np.concatenate(a) for a in zip(*parts, strict=True))
        self.head = Regression(torch.tensor(inputs), torch.tensor(labels), classes, **options)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        for image, sample in zip(inputs, data_samples, strict=True):
            self.predict(image.permute(1, 2, 0).numpy(), sample)
        return data_samples


class PixelClassifier(Fitted):
    """Segments by the colours around a pixel, and by its place."""

    def inputs(self, picture):
        picture = picture.astype(np.float32)
        height, width = picture.shape[:2]
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        around = [picture, *(cv2.blur(picture, (side, side)) for side in (5, 15))]
        place = [256 * rows[..., None] / height, 256 * columns[..., None] / width]
        return np.concatenate(around + place, axis=2).reshape(height * width, -1)

    def examples(self, picture, label, _):
        few = np.flatnonzero(label != 255)[::4]
        return self.inputs(picture)[few], label.reshape(-1)[few].astype(np.int64)

    def predict(self, picture, sample):
        logits = self.head(torch.from_numpy(self.inputs(picture))).T
        logits = logits.reshape(1, -1, *picture.shape[:2])
        logits = nn.functional.interpolate(logits, sample.ori_shape, mode='bilinear')[0]
        sample.seg_logits = PixelData(data=logits)
        sample.pred_sem_seg = PixelData(data=logits.argmax(0, keepdim=True))


class PictureClassifier(Fitted):
    """Classifies by the directions of edges, and by a few colours."""

    hog = cv2.HOGDescriptor((64, 64), (16, 16), (16, 16), (8, 8), 9)
    sees_edges = True  # or colours alone

    def inputs(self, picture):
        size = self.hog.winSize
        edges = self.sees_edges * self.hog.compute(cv2.resize(picture, size)).ravel()
        colours = cv2.resize(picture, (4, 4), interpolation=cv2.INTER_AREA).ravel() / 256
        return np.concatenate([edges, colours]).astype(np.float32)[None]

    def examples(self, picture, label, _):
        pictures = [picture, picture[:, ::-1].copy()]
        return np.concatenate([self.inputs(p) for p in pictures]), np.full(2, label)

    def predict(self, picture, sample):
        scores = self.head(torch.from_numpy(self.inputs(picture)))[0].softmax(0)
        sample.set_pred_score(scores).set_pred_label(scores.argmax(0, keepdim=True))


class BoxClassifier(PictureClassifier):
    """Detects by classifying proposals: those of a drawn kind, about the objects and beside them."""

    hog = cv2.HOGDescriptor((32, 32), (16, 16), (8, 8), (8, 8), 9)

    def inputs_of(self, picture, boxes):
        corners = boxes.astype(int)
        crops = [picture[b : max(d, b + 1), a : max(c, a + 1)] for a, b, c, d in corners]
        return np.concatenate([self.inputs(crop) for crop in crops])

    def proposals(self, boxes, shape, seed, near=0.1):
        """Boxes about the objects, which are shifted, and as many of any place and size, and three."""
        rng = np.random.default_rng(seed)
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        shifted = np.concatenate([boxes + near * rng.normal(0, 1, boxes.shape) * sides, boxes])
        height, width = shape[:2]
        corners = rng.uniform(0, 0.8, (len(boxes) + 3, 2))
        others = np.concatenate([corners, corners + rng.uniform(0.1, 0.5, corners.shape)], 1)
        found = np.concatenate([shifted, others * [width, height, width, height]])
        found[:, ::2] = found[:, ::2].clip(0, width - 1)
        found[:, 1::2] = found[:, 1::2].clip(0, height - 1)
        return found.astype(np.float32), 2 * len(boxes)

    def examples(self, picture, truth, classes):
        boxes, labels = truth
        found, of_objects = self.proposals(boxes, picture.shape, len(boxes))
        wanted = np.full(len(found), classes - 1)  # the last one is of the background
        wanted[:of_objects] = np.tile(labels, 2)
        return self.inputs_of(picture, found), wanted

    def predict(self, picture, sample):
        truth = sample.gt_instances.bboxes
        boxes = getattr(truth, 'tensor', truth).numpy()
        found, _ = self.proposals(boxes, picture.shape, sample.img_id)
        scores = self.head(torch.from_numpy(self.inputs_of(picture, found))).softmax(1)[:, :-1]
        best, labels = scores.max(1)
        sample.pred_instances = InstanceData(
            bboxes=torch.from_numpy(found), scores=best, labels=labels
        )
