"""Packing the two images of an STL sample."""

from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from fan_mm.errors import InputError
from fan_mm.versions import require_task_library


@TRANSFORMS.register_module()
class PackPairedInputs(BaseTransform):
    """mmpretrain's ``PackInputs``, with the teacher's image in addition to the student's.

    Required keys: ``img`` and ``teacher_img``, both uint8 ``(H, W, 3)``. Returns ``inputs`` and
    ``teacher_inputs`` ``(3, H, W)``, and ``data_samples``.

    Raises:
        InputError: mmpretrain is missing, or a sample has no teacher's image.
    """

    def __init__(self, **options: object) -> None:
        require_task_library('mmpretrain')
        from mmpretrain.datasets.transforms import PackInputs

        self.pack = PackInputs(**options)

    def transform(self, results: dict) -> dict:
        """Pack both images.

        Raises:
            InputError: there is no teacher's image.
        """
        if 'teacher_img' not in results:
            raise InputError('PackPairedInputs needs JointRandAugment(teacher=True) before it')
        packed = self.pack(results)
        packed['teacher_inputs'] = self.pack.format_input(results['teacher_img'])
        return packed
