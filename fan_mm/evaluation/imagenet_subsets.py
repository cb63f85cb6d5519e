"""ImageNet-A, -R, -V2 and -Sketch: which of the 1000 classes their folders are (spec 12.2)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fan_mm.errors import InputError
from fan_mm.evaluation.class_names import wordnet_ids
from fan_mm.evaluation.data import facts
from fan_mm.logs import warn


@dataclass(frozen=True)
class FolderSet:
    """A test set of class folders, named by WordNet id or by class index.

    Attributes:
        name: name in the paper's Table 11.
        folders: number of class folders.
        subset: key of the list of classes of the folders; None for all 1000.
        source: where the test set is defined.
    """

    name: str
    folders: int
    subset: str | None
    source: str

    def classes(self, names: Sequence[str]) -> list[int]:
        """The ImageNet index of every folder, in the order of their names, sorted as text.

        Raises:
            InputError: they are not this set's, or do not say which class each is.
        """
        ids = [match[0] for name in names if (match := _WORDNET.match(name))]
        if len(ids) == len(names):
            known = wordnet_ids()
            indices = [known.index(id_) if id_ in known else -1 for id_ in ids]
            if set(indices) == {-1} and len(set(ids)) == self.folders:
                warn(
                    f'{self.name}: no class folder is named by a WordNet id of ImageNet; they are assumed to '
                    "be the dataset's classes in order"
                )
                return self.indices()
        elif all(re.fullmatch('[0-9]+', name) for name in names):
            indices = [int(name) for name in names]  # in alphabetical order: 0, 1, 10, 100, ...
        else:
            indices = []
        if sorted(indices) == self.indices():
            return indices
        odd = next(
            (n for n in names if not re.fullmatch('[0-9]+', n) and not _WORDNET.match(n)), None
        )
        found = f'{len(names)} folders' + (f', such as {odd!r}' if odd else '')
        if len(names) == self.folders and len(ids) == len(names):
            found += f' of {_whose(indices)}'
        raise InputError(
            f'not {self.name}: it has {self.folders} class folders named by WordNet id, but there are {found}'
        )

    def indices(self) -> list[int]:
        """The ImageNet indices of its classes, ascending, as its folders are when sorted by WordNet id."""
        if self.subset is None:
            return list(range(1000))
        return list(facts('imagenet_subsets')[self.subset])


_WORDNET = re.compile(r'n\d{8}(?![0-9A-Za-z])')
FOLDER_SETS = {
    'imagenet_a': FolderSet(
        'ImageNet-A',
        200,
        'imagenet_a',
        'Hendrycks et al., Natural Adversarial Examples, CVPR 2021',
    ),
    'imagenet_r': FolderSet(
        'ImageNet-R',
        200,
        'imagenet_r',
        'Hendrycks et al., The Many Faces of Robustness, ICCV 2021',
    ),
    'imagenet_v2': FolderSet(
        'ImageNet-V2',
        1000,
        None,
        'Recht et al., Do ImageNet Classifiers Generalize to ImageNet?, ICML 2019',
    ),
    'imagenet_sketch': FolderSet(
        'ImageNet-Sketch',
        1000,
        None,
        'Wang et al., Learning Robust Global Representations, NeurIPS 2019',
    ),
}


def _whose(indices: Sequence[int]) -> str:
    """The name of the set whose classes these are, or what else they are."""
    for other in FOLDER_SETS.values():
        if sorted(indices) == other.indices():
            return other.name
    if -1 in indices:
        return f'which {list(indices).count(-1)} are not classes of ImageNet'
    return 'other classes of ImageNet'


def correct_counts(scores: Tensor, labels: Tensor, classes: Sequence[int]) -> list[int]:
    """How many predictions are right (top-1, top-5) if only some classes may be predicted.

    Args:
        scores: ``(B, K)``, logits or probabilities.
        labels: ``(B,)`` positions in ``classes``.
        classes: class of each label; predictions are restricted to these classes.
    """
    restricted = scores[:, torch.as_tensor(classes, device=scores.device)]
    best = restricted.topk(min(5, restricted.shape[1]), dim=1).indices
    right = best == labels.to(scores.device)[:, None]
    return [int(right[:, :k].any(1).sum()) for k in (1, 5)]
