"""What a model gives: values that are not finite are found where they count, and nowhere else."""

import re
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from fan_mm.engine.first_batch.outputs import (
    NOT_FINITE,
    check_labels,
    check_outputs,
    classes_without_images,
    not_finite,
    scores_below_a_threshold,
    unknown_classes,
    without_losses,
)
from fan_mm.errors import InputError

NAN, INF = float('nan'), float('inf')


def sample(img_path='a.png', **parts):
    return BaseDataElement(metainfo=dict(img_path=img_path), **parts)


@pytest.mark.parametrize(
    ('value', 'is_bad'),
    [
        ([0.1, 0.9], False),
        ([0.1, NAN], True),
        ([0.1, INF], True),
        ([0.1, -INF], False),  # a class that is masked out
        ([-INF, NAN], True),
        ([-INF, INF], True),
        ([3e38] * 9, False),  # finite, though their sum is not
        ([1, 2], False),
        ([], False),
    ],
)
def test_values_that_are_not_finite(value, is_bad):
    found = sample(pred_score=torch.tensor(value))
    assert not_finite(found) == ('pred_score' if is_bad else None)
    for outputs in ([sample(pred_score=torch.ones(2)), found], (found,)):
        if is_bad:
            with pytest.raises(
                InputError, match=rf'outputs pred_score with {NOT_FINITE} for a\.png'
            ):
                check_outputs(outputs)
        else:
            check_outputs(outputs)


@pytest.mark.parametrize(
    ('parts', 'name'),
    [
        (dict(seg_logits=PixelData(data=torch.full((2, 3, 3), NAN))), 'data'),
        (dict(pred_instances=InstanceData(scores=torch.tensor([NAN]))), 'scores'),
        (dict(pred_boxes=[torch.ones(1), torch.tensor([INF])]), 'pred_boxes'),
        # what the labels hold, and what comes before or after the logits by name
        (dict(gt_score=torch.tensor([NAN]), weights=torch.tensor([NAN])), None),
        (dict(img=torch.tensor([NAN]), pred_text='nan'), None),
    ],
)
def test_only_predictions_are_looked_at(parts, name):
    assert not_finite(sample(**parts)) == name


@pytest.mark.parametrize('outputs', [None, {}, torch.tensor([NAN]), iter([])])
def test_outputs_of_other_forms_are_left_alone(outputs):
    check_outputs(outputs)
    assert without_losses(outputs) is outputs


def test_losses_behind_the_samples_are_left_out():
    one, two = (
        sample(pred_score=torch.ones(1)),
        sample(loss=torch.ones(1), pred_score=torch.ones(1)),
    )
    losses = BaseDataElement(loss=torch.ones(1))
    assert without_losses([one, two, losses]) == [one, two]
    for outputs in ([one, two], [losses, one], [], (one, losses)):
        assert without_losses(outputs) is outputs


class UnknownMetric(BaseMetric):
    def process(self, data_batch, data_samples):
        raise NotImplementedError

    def compute_metrics(self, results):
        raise NotImplementedError


def scores(*values):
    sample = BaseDataElement()
    sample.pred_score = torch.tensor(values)
    return [sample]


@pytest.mark.parametrize(
    ('outputs', 'labels', 'refused'),
    [
        (scores(0.1, 0.9), [0, 1], False),
        (scores(0.1, 0.9), [1, 2], True),  # a list that counts from 1
        (scores(0.1, 0.9), [1, -2], True),  # no class
        ([dict(pred_score=torch.ones(3))], [[0, 2], [], torch.tensor([3])], True),
        (scores(0.1, 0.9), [np.int64(1), None, np.array([])], False),
        ([InstanceData(scores=torch.ones(2))], [7], False),  # of a detector
        ([dict(pred_score=torch.ones(2, 2))], [7], False),
        ([], [7], False),
    ],
)
def test_labels_without_a_score(outputs, labels, refused):
    accuracy = pytest.importorskip('mmpretrain.evaluation').Accuracy()
    with (
        pytest.raises(InputError, match=r'has the label -?[23], but') if refused else nullcontext()
    ):
        check_labels(outputs, labels, Evaluator(accuracy))
    check_labels(outputs, labels, Evaluator(UnknownMetric()))  # what it does with labels, who knows


def test_a_class_that_an_image_has_twice():
    metrics = pytest.importorskip('mmpretrain.evaluation')
    (sample,) = scores(0.1, 0.2, 0.7)
    sample.gt_label = torch.tensor([0, 2])
    check_labels([sample], [], Evaluator(metrics.AveragePrecision()))
    sample.gt_label = torch.tensor([0, 2, 0])
    with pytest.raises(InputError, match=r'^an image has the labels \[0, 2, 0\]: mmpretrain makes'):
        check_labels([sample], [], Evaluator(metrics.AveragePrecision()))


@pytest.mark.parametrize(
    ('labels', 'options', 'said'),
    [
        ([0, 1, 2, None], {}, None),
        (
            [[0], [2, 0]],
            {},
            'has 1 of the 3 classes .the first: 1., .* perfect model would have 66.67$',
        ),
        (
            [2, np.array([2])],
            {},
            'has 2 of the 3 classes .the first: 0., .* perfect model would have 33.33$',
        ),
        ([2], dict(average='micro'), None),
        ([2], dict(average=None), None),
        ([None], {}, None),
        ([0.5], {}, None),
    ],
)
@pytest.mark.parametrize('name', ['SingleLabelMetric', 'MultiLabelMetric', 'AveragePrecision'])
def test_averages_over_classes_that_no_image_has(labels, options, said, name):
    metrics = pytest.importorskip('mmpretrain.evaluation')
    metric = getattr(metrics, name)(**options)
    found = classes_without_images(
        scores(0.1, 0.2, 0.7), labels, Evaluator([metrics.Accuracy(), metric])
    )
    assert (
        found is None
        if said is None
        else re.search(f'{said}', found) and f'in {name} counts' in found
    )
    assert classes_without_images(scores(0.1, 0.2), labels, Evaluator(metrics.Accuracy())) is None
    assert classes_without_images([dict(pred_label=1)], labels, Evaluator(metric)) is None


@pytest.mark.parametrize(
    ('values', 'name', 'options', 'said'),
    [
        ((-3.0, -1.0), 'Accuracy', {}, 'thrs=0.0: set thrs=None'),
        ((-3.0, 1.0), 'SingleLabelMetric', dict(thrs=(0.5, 0.2)), 'thrs=0.5: set thrs=None'),
        ((-3.0, -1.0), 'Accuracy', dict(thrs=None), None),
        ((0.0, 1.0), 'Accuracy', {}, None),
        ((-3.0, -1.0), 'MultiLabelMetric', {}, None),
    ],
)
def test_right_predictions_below_a_threshold(values, name, options, said):
    metric = getattr(pytest.importorskip('mmpretrain.evaluation'), name)(**options)
    found = scores_below_a_threshold(scores(*values), Evaluator([metric]))
    assert found is None if said is None else found.endswith(said) and f'{name} counts' in found


def test_what_accuracy_makes_of_logits():
    """As `scores_below_a_threshold` says."""
    metric = pytest.importorskip('mmpretrain.evaluation').Accuracy
    right = torch.tensor([[-1.0, -3.0]])
    assert float(metric.calculate(right, torch.tensor([0]))[0][0]) == 0
    assert float(metric.calculate(right, torch.tensor([0]), thrs=(None,))[0][0]) == 100


def test_what_a_perfect_model_has_where_a_class_has_no_images():
    """As `classes_without_images` says."""
    metrics = pytest.importorskip('mmpretrain.evaluation')
    right = torch.eye(4)[:3]
    values = metrics.SingleLabelMetric.calculate(right, torch.arange(3))
    assert [float(value) for value in values[0][:3]] == [75.0] * 3
    assert float(metrics.AveragePrecision.calculate(right, right)) == 75.0


HUNDRED = dict(classes=['a'] * 100)


@pytest.mark.parametrize(
    ('predicted', 'metainfo', 'said'),
    [
        ([0, 1, 99], HUNDRED, None),
        ([0, 390, 1, 620], HUNDRED, None),  # a half
        (
            [0, 100, 390, 620],
            HUNDRED,
            r'^3 of the first 4 predictions are not among the 100 classes .* \(the first: 100\), and',
        ),
        ([], HUNDRED, None),
        ([390], dict(classes=()), None),
        ([390], {}, None),
        ([390], None, None),
        ([390], [dict(classes=['a'])], None),  # of several datasets
    ],
)
@pytest.mark.parametrize('kind', [dict, lambda **parts: BaseDataElement(**parts)])
def test_predictions_of_no_class(predicted, metainfo, said, kind):
    found = unknown_classes(
        [kind(pred_label=torch.tensor([label])) for label in predicted], metainfo
    )
    assert found is None if said is None else re.search(said, found)
    assert unknown_classes([InstanceData(labels=torch.tensor([390]))], dict(classes=['a'])) is None
