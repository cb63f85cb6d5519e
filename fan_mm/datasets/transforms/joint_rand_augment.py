"""RandAugment of the ImageNet recipe, for one image or for STL's pair of images (spec 9 and 13.2)."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_random_params
from mmengine.registry import TRANSFORMS

from fan_mm.errors import InputError
from fan_mm.versions import require_task_library

# Operations that move pixels: where they fire, they do so on both images.
GEOMETRIC = ('Rotate', 'Shear', 'Translate')


@TRANSFORMS.register_module()
class JointRandAugment(BaseTransform):
    """mmpretrain's RandAugment with a random resampling filter for every operation, as in timm.

    With ``teacher=True`` the sample gets two images, the student's (``img``) and the teacher's
    (``teacher_img``). Earlier transforms applied to both at once, and so do the geometric
    operations here, with the same magnitude and sign but a filter drawn for each image. The
    photometric operations, like all later transforms, are applied only to the student's image. The
    tokens of both images therefore show the same places (STL, ICCV 2023).

    Required and modified key: ``img`` (uint8 ``(H, W, 3)``). Added with ``teacher``:
    ``teacher_img``.

    Args:
        num_policies: operations drawn per image; each fires with probability 0.5.
        magnitude_level: mean of their magnitudes, 0 to 10.
        magnitude_std: standard deviation of the magnitudes.
        policies: name of mmpretrain's list of operations, or a list.
        pad_val: BGR colour of the area that moves into the image.
        interpolations: the filters to draw from.
        teacher: also create the teacher's image.

    Raises:
        InputError: no filter is given, or mmpretrain is missing.
    """

    def __init__(
        self,
        num_policies: int = 2,
        magnitude_level: float = 9,
        magnitude_std: float = 0.5,
        policies: str | list[dict] = 'timm_increasing',
        pad_val: Sequence[int] = (104, 116, 124),
        interpolations: Sequence[str] = ('bilinear', 'bicubic'),
        teacher: bool = False,
    ) -> None:
        if not interpolations:
            raise InputError('interpolations: give at least one filter')
        require_task_library('mmpretrain')
        from mmpretrain.datasets.transforms import RandAugment

        self.rand_augment = RandAugment(
            policies,
            num_policies,
            magnitude_level,
            magnitude_std,
            hparams=dict(pad_val=list(pad_val)),
        )
        self.interpolations = tuple(interpolations)
        self.teacher = teacher

    def transform(self, results: dict) -> dict:
        """Augment ``img`` and, if wanted, make ``teacher_img``."""
        image = results['img']
        # erasing works in place: the two must not share memory
        other = image.copy() if self.teacher else image
        for index in self.rand_augment.random_policy_indices():
            operation = self.rand_augment.transforms[index]
            with cache_random_params(operation):
                image = self._apply(operation, image)
                if self.teacher and type(operation).__name__ in GEOMETRIC:
                    other = self._apply(operation, other)
        results['img'] = image
        if self.teacher:
            results['teacher_img'] = other
        return results

    def _apply(self, operation: BaseTransform, image: np.ndarray) -> np.ndarray:
        if hasattr(operation, 'interpolation'):
            operation.interpolation = self._filter()
        return operation(dict(img=image))['img']

    def _filter(self) -> str:
        return self.interpolations[np.random.randint(len(self.interpolations))]

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}({self.rand_augment}, interpolations={self.interpolations}, '
            f'teacher={self.teacher})'
        )
