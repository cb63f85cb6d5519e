"""Batches of image pairs: the teacher's are normalised, never mixed."""

from mmengine.registry import MODELS
from mmpretrain.models import ClsDataPreprocessor


@MODELS.register_module()
class PairedDataPreprocessor(ClsDataPreprocessor):
    """mmpretrain's preprocessor for batches that may also contain the teacher's images.

    Mixup and cutmix change only the student's images and targets; the token labels still describe
    the unmixed image (spec 13.2). Takes the arguments of ``ClsDataPreprocessor``.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Preprocess 'inputs', 'data_samples' and, where there are any, 'teacher_inputs'."""
        data = dict(data)
        teacher = data.pop('teacher_inputs', None)
        batch = super().forward(data, training)
        if teacher is not None:
            batch['teacher_inputs'] = super().forward(dict(inputs=teacher))['inputs']
        return batch
