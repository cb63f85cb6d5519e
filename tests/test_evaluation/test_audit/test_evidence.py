"""What is seen of a cell: the same over any number of ranks, and never an error."""

from collections import Counter

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import nn

from fan_mm.evaluation.audit.evidence import IGNORED, Seen, merged
from fan_mm.evaluation.audit.watch import PIXELS, Watch, _count_pairs, _overlaps

CLASSES = 5


def segmented(seed):
    rng = np.random.default_rng(seed)
    truth = torch.from_numpy(rng.choice([0, 1, 2, 3, 4, 9, 255], (1, 40, 60)))
    sample = BaseDataElement()
    sample.gt_sem_seg = PixelData(data=truth)
    sample.pred_sem_seg = PixelData(data=torch.from_numpy(rng.integers(0, CLASSES, (1, 40, 60))))
    sample.seg_logits = PixelData(data=torch.from_numpy(rng.normal(size=(CLASSES, 40, 60))))
    return sample


def classified(seed):
    rng = np.random.default_rng(seed)
    sample = BaseDataElement()
    sample.gt_label = torch.tensor([int(rng.integers(CLASSES))])
    sample.pred_score = torch.from_numpy(rng.dirichlet(np.ones(CLASSES)))
    sample.pred_label = sample.pred_score.argmax(keepdim=True)
    return sample


def detected(seed):
    rng = np.random.default_rng(seed)
    corners = torch.from_numpy(rng.uniform(0, 50, (4, 2)))
    boxes = torch.cat([corners, corners + 20], dim=1)
    sample = BaseDataElement()
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, 1, 2, 3]))
    sample.pred_instances = InstanceData(
        bboxes=boxes + 1,
        labels=torch.tensor([0, 1, 2, 4]),
        scores=torch.tensor([0.9, 0.8, 0.7, 0.1]),
    )
    return sample


def batches(make, count=6, size=2):
    for start in range(0, count, size):
        positions = list(range(start, start + size))
        inputs = [
            torch.from_numpy(
                np.random.default_rng(p).integers(0, 256, (3, 50, 70)).astype(np.uint8)
            )
            for p in positions
        ]
        yield positions, {'inputs': inputs}, [make(p) for p in positions]


def watched(given, clean=True):
    watch = Watch(nn.Linear(2, 2), clean)
    for batch in given:
        watch.take(*batch)
    return watch.end()


@pytest.mark.parametrize('make', [segmented, classified, detected])
def test_ranks_see_together_what_one_sees(make):
    given = list(batches(make))
    one = merged([watched(given)], CLASSES)
    two = merged([watched(given[1::2]), watched(given[::2])], CLASSES)
    assert one.pop('waited') == two.pop('waited') == 0
    assert one == two
    assert one['distinct'] == 6
    assert one['scores'] and one['pictures']


@pytest.mark.parametrize('kind', [torch.int64, torch.float32])  # the latter: of one output
def test_counts_of_pixels(kind):
    given = list(batches(segmented))
    for *_, samples in given:
        for sample in samples:
            sample.pred_sem_seg.data = sample.pred_sem_seg.data.to(kind)
    seen = merged([watched(given)], CLASSES)
    truth = np.concatenate([s.gt_sem_seg.data.numpy().ravel() for *_, b in given for s in b])
    predicted = np.concatenate([s.pred_sem_seg.data.long().ravel() for *_, b in given for s in b])
    assert seen['truth'] == np.bincount(truth[truth < CLASSES], minlength=CLASSES).tolist()
    assert seen['outside'] == [[9, int((truth == 9).sum())]]
    assert seen['ignored'] == (truth == 255).sum()
    assert seen['labels'] == truth.size
    kept = predicted[truth != 255]
    most = np.bincount(kept).argmax()
    assert seen['most'] == [most, (kept == most).sum(), kept.size]
    for label, (other, count) in enumerate(seen['taken_for']):
        assert (np.bincount(predicted[truth == label])[other], count) == (
            count,
            np.bincount(predicted[truth == label]).max(),
        )
    corrupted = merged([watched(given, clean=False)], CLASSES)
    assert corrupted['most'] == seen['most']
    assert 'truth' not in corrupted


def test_maps_of_other_things_than_classes_are_not_counted():
    given = list(batches(segmented))
    for *_, samples in given:
        for sample in samples:
            sample.pred_sem_seg.data = sample.pred_sem_seg.data + 0.5
    assert 'most' not in merged([watched(given)], CLASSES)


@pytest.mark.parametrize('labels', [[IGNORED, 0, 3], [-3, 0], [1, PIXELS], [2**31, 5], []])
@pytest.mark.parametrize('guesses', [[0, 1, 4], [-1, 2], [-1], [3, 2 * PIXELS]])
def test_pairs_of_any_labels_and_guesses(labels, guesses):
    truth, predicted = np.array(labels * 4, np.int64), np.resize(guesses, 4 * len(labels))
    counts = Counter()
    _count_pairs(counts, truth, predicted)
    assert counts == Counter(zip(truth.tolist(), predicted.tolist(), strict=True))


def test_objects_are_taken_for_the_detection_upon_them():
    seen = merged([watched(batches(detected))], CLASSES)
    assert seen['truth'] == [6, 6, 6, 0, 0]  # the fourth is found by an unsure one alone
    assert seen['taken_for'][:3] == [[0, 6], [1, 6], [2, 6]]


def test_objects_are_looked_at_in_the_clean_cell_alone():
    def stray(seed):
        sample = detected(seed)
        sample.pred_instances.bboxes[0] += 500
        return sample

    corrupted = merged([watched(batches(stray), clean=False)], CLASSES)
    assert corrupted['most'] == [0, 6, 18] and 'truth' not in corrupted
    assert merged([watched(batches(stray))], CLASSES)['truth'] == [0, 6, 6, 0, 0]


def test_large_maps_are_looked_at_in_part():
    sample = BaseDataElement()
    sample.pred_sem_seg = PixelData(data=torch.ones(1, 1024, 2048, dtype=torch.long))
    watch = Watch(nn.Identity(), clean=False)
    watch.take([0], {}, [sample])
    seen = merged([watch.end()], CLASSES)
    assert seen['most'][0] == 1
    assert 2**13 < seen['most'][2] < 2**15


def test_every_change_of_a_picture_is_seen():
    positions, batch, outputs = next(batches(classified))
    first = merged([watched([(positions, batch, outputs)])], CLASSES)
    other = {'inputs': [p.clone() for p in batch['inputs']]}
    other['inputs'][1][1] += 1
    second = merged([watched([(positions, other, outputs)])], CLASSES)
    assert first['pictures'] != second['pictures']
    assert first['scores'] == second['scores']


@pytest.mark.parametrize(
    ('batch', 'outputs'),
    [
        ({'inputs': ['a text']}, [BaseDataElement()]),
        ({'inputs': torch.zeros(3, 4)}, ['a text']),
        ({}, [None]),
        ('a text', [{}]),
        (None, None),
    ],
)
def test_what_cannot_be_looked_at_is_left_out(batch, outputs):
    watch = Watch(nn.Identity(), clean=True)
    watch.take([0], batch, outputs)
    assert not {'most', 'scores', 'truth'} & merged([watch.end()], CLASSES).keys()


def test_several_forms_of_each_picture_of_a_batch():
    watch = Watch(nn.Linear(2, 2), clean=True)
    pictures = torch.arange(3 * 3 * 8 * 8).reshape(3, 3, 8, 8)
    forms = [list(pictures), [picture.flip(-1) for picture in pictures]]
    watch.take([4, 5, 6], dict(inputs=forms), [classified(p) for p in range(3)])
    seen = watch.end()
    assert sorted(seen.pictures) == [4, 5, 6]
    assert len(set(seen.pictures.values())) == 3


def test_test_time_augmentation_gives_several_forms_of_a_picture():
    forms = [[torch.ones(3, 20, 30)], [torch.zeros(3, 40, 60)]]
    first, second = (
        merged([watched([([0], {'inputs': inputs}, [classified(0)])])], CLASSES)
        for inputs in (forms, [forms[0], [torch.ones(3, 40, 60)]])
    )
    assert first['pictures'] != second['pictures']


def test_255_is_a_class_of_pictures():
    sample = classified(0)
    sample.gt_label = torch.tensor([255])
    seen = merged([watched([([0], {}, [sample])])], 1000)
    assert (seen['truth'][255], seen['ignored'], seen['most'][2]) == (1, 0, 1)


def test_classes_that_are_not_known_are_those_that_occur():
    pairs = Counter({(0, 0): 5, (2, 3): 4, (2, 0): 4, (IGNORED, 1): 2})
    found = merged([Seen(pairs=pairs), Seen(pairs=Counter({(0, 0): 1}))], None)
    assert found['truth'] == [6, 0, 8, 0]
    assert found['predicted'] == [10, 0, 0, 4]
    assert found['taken_for'] == [[0, 6], [0, 0], [0, 4], [0, 0]]
    assert (found['outside'], found['ignored'], found['labels']) == ([], 2, 16)
    assert found['most'] == [0, 10, 14]
    three = merged([Seen(pairs=pairs)], 2)
    assert (three['truth'], three['outside']) == ([5, 0], [[2, 8]])
    beyond = merged([Seen(pairs=Counter({(0, 0): 5, (1, 7): 4, (0, 2): 1, (9, 9): 2}))], 2)
    assert (beyond['predicted'], beyond['unknown'], beyond['labels']) == ([5, 0], 5, 12)


def test_the_most_frequent_values_that_are_no_class():
    pairs = Counter({(5 + i, 0): count for i, count in enumerate((1, 3, 3, 9, 2, 7, 1))})
    found = merged([Seen(pairs=pairs)], 2)
    assert found['outside'] == [[8, 9], [10, 7], [6, 3], [7, 3], [9, 2]]


def test_a_rank_that_saw_nothing_leaves_nothing():
    assert merged([], 2) == merged([Seen(), None], 2) == {}
    found = merged([Seen(waited=0.12345, blank=1, pictures={0: 4}), Seen(waited=0.02)], 2)
    assert (found['waited'], found['blank'], found['distinct']) == (0.123, 1, 1)


@pytest.mark.parametrize(('empty', 'has'), [((True, True), False), ((True, False), True)])
def test_scores_without_a_detection_say_nothing(empty, has):
    parts = [Seen(scores={i: i}, empty=none) for i, none in enumerate(empty)]
    assert ('scores' in merged(parts, 2)) == has


@pytest.mark.parametrize('side', [1e-3, 1.0, 1000.0])
def test_overlaps_of_boxes_in_any_unit(side):
    boxes = side * np.array([[0, 0, 1, 1], [0.5, 0, 1.5, 1], [2, 2, 3, 3], [1, 1, 1, 1]])
    expected = [[1, 1 / 3, 0, 0], [1 / 3, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert np.allclose(_overlaps(boxes, boxes), expected)


def test_of_classes_that_are_predicted_as_often_the_first_counts():
    assert merged([Seen(predicted=Counter({4: 3, 2: 3, 7: 1}))], 9)['most'] == [2, 3, 7]
