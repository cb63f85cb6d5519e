"""Calibration in anybody's evaluator: its numbers, and what has none."""

import math

import pytest
import torch
from calibrated_samples import a_map, picture, sample

from fan_mm.errors import InputError
from fan_mm.evaluation.calibration.measures import calibration, sums_of_map
from fan_mm.evaluation.calibration.metric import CalibrationMetric

LOGITS, LABELS, _ = a_map()
WRONG = {
    'no scores': (sample(seg_logits=None), 'no seg_logits'),
    'no labels': (sample(gt_sem_seg=None), 'no gt_sem_seg'),
    'no prediction': (sample(pred_sem_seg=None), 'no pred_sem_seg'),
    'another size': (sample(gt_sem_seg=LABELS[None, :9]), 'must have the same size'),
    'label ids': (sample(gt_sem_seg=LABELS[None].clamp(max=33)), 'label 33, but the model has 7'),
    'negative labels': (sample(gt_sem_seg=LABELS[None] - 1), 'label 254'),
    'not its prediction': (
        sample(pred_sem_seg=torch.where(LABELS == 255, 0, LABELS)[None]),
        'not the class with the highest score',
    ),
    'not finite': (sample(seg_logits=LOGITS * math.nan), 'not finite'),
    'no sigmoid': (sample(seg_logits=LOGITS[:1]), 'not between 0 and 1'),
    'probabilities': (sample(seg_logits=LOGITS.softmax(0)), 'the softmax would be taken once more'),
    'no pred_score': ({'gt_label': torch.tensor([0])}, 'no pred_score'),
    'several labels': (picture([0.5, 0.5], [0, 1]), 'exactly one label'),
    'one sigmoid per class': (picture([0.9, 0.8]), 'does not sum to 1'),
    'logits': (picture([1.5, -0.5]), 'does not sum to 1'),
    'a class too many': (picture([0.5, 0.5], 2), 'label 2, but the model has 2'),
}


@pytest.mark.parametrize('name', WRONG)
def test_what_has_no_calibration_is_one_line(name):
    outputs, line = WRONG[name]
    with pytest.raises(InputError, match=line) as error:
        CalibrationMetric().process(None, [outputs])
    assert '\n' not in str(error.value)


def test_the_metric_in_an_evaluator():
    """As mmengine's loops use it, registered, beside others."""
    from mmengine.evaluator import Evaluator

    evaluator = Evaluator(dict(type='CalibrationMetric', temperature=2.0))
    evaluator.process([sample(), sample()], None)
    logits, labels, predicted = a_map()
    plain, scaled = calibration(sums_of_map(logits, labels, predicted, temperatures=(1.0, 2.0)))
    assert evaluator.evaluate(2) == pytest.approx(
        {
            f'calibration/{name}{end}': value
            for end, row in (('', plain), ('_scaled', scaled))
            for name, value in zip(('ECE', 'NLL', 'Brier'), row, strict=True)
        }
    )
    evaluator = Evaluator([dict(type='CalibrationMetric')])
    evaluator.process([picture([0.7, 0.3]), picture([0.2, 0.8])], None)
    assert evaluator.evaluate(2)['calibration/Brier'] == pytest.approx((0.18 + 1.28) / 2, abs=1e-5)
