"""The merged scores of mmseg's test-time augmentation, with mmseg's own class."""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.structures import PixelData

pytest.importorskip('mmseg')

from mmseg.models import SegTTAModel
from mmseg.structures import SegDataSample

from fan_mm.evaluation.calibration.measures import sums_of_map
from fan_mm.evaluation.calibration.merged_scores import predict
from fan_mm.evaluation.calibration.metric import scores_of_map


class Scores(BaseModel):
    """Logits are the input."""

    out_channels = 5

    def forward(self, inputs, data_samples=None, mode='tensor'):
        for logits, sample in zip(inputs, data_samples, strict=True):
            sample.seg_logits = PixelData(data=logits.clone())
            sample.pred_sem_seg = PixelData(data=logits.argmax(0, keepdim=True))
        return data_samples


def batch_of(logits):
    """A batch ``(A, N, C, H, W)`` of A augmentations of N pictures."""
    samples = []
    for augmented in logits:
        samples.append(
            [SegDataSample(metainfo=dict(img_path=str(i))) for i in range(len(augmented))]
        )
        for sample in samples[-1]:
            sample.gt_sem_seg = PixelData(data=torch.ones(1, 4, 6, dtype=torch.long))
    return dict(inputs=[list(augmented) for augmented in logits], data_samples=samples)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_scores_are_those_that_the_prediction_is_of(dtype):
    logits = (3 * torch.randn(3, 2, 5, 4, 6, generator=torch.Generator().manual_seed(0))).to(dtype)
    model = SegTTAModel(Scores())
    plain = model.test_step(batch_of(logits))
    outputs = predict(model, batch_of(logits))
    assert not model.module._forward_hooks
    for number, (sample, other) in enumerate(zip(outputs, plain, strict=True)):
        assert (sample.pred_sem_seg.data == other.pred_sem_seg.data).all()
        assert (other.seg_logits.data == logits[-1, number]).all()  # what mmseg leaves
        probabilities = logits[:, number].float().softmax(1).mean(0)
        found = sample.seg_logits.data.softmax(0)
        assert torch.allclose(found, probabilities, atol=1e-5 if dtype == torch.float32 else 2e-3)
        scores, labels, predicted = scores_of_map(sample.to_dict())
        assert sums_of_map(scores, labels, predicted)[0, :15].sum() == 24


def test_a_failing_model_keeps_no_hook_and_others_are_left_alone():
    model = SegTTAModel(Scores())
    with pytest.raises(ValueError, match='argument 2'):
        predict(model, dict(inputs=[[torch.zeros(5, 4, 6)]], data_samples=[[]]))
    assert not model.module._forward_hooks
    (batch,) = [
        dict(inputs=list(b), data_samples=s)
        for b, s in zip(*batch_of(torch.randn(1, 2, 5, 4, 6)).values(), strict=True)
    ]
    logits = batch['inputs'][0]
    assert (predict(Scores(), batch)[0].seg_logits.data == logits).all()
