"""Segmentation labels, and the heads, metrics and pipelines that leave some out or stretch them."""

import pytest
from label_folders import complaint, halves, said
from mmengine.registry import MODELS, TRANSFORMS
from PIL import Image

pytest.importorskip('mmseg')


def test_a_value_that_a_head_or_a_metric_leaves_out(folder):
    folder.write(halves(1, 255))
    Image.fromarray(halves(0, 1)).save(folder.labels('train')[1])
    Image.fromarray(halves(0, 1)).save(folder.labels('val')[1])
    message = complaint(folder.config(head=dict(ignore_index=100)))
    assert 'the label 255, which model.decode_head.ignore_index=100 does not ignore' in message
    message = complaint(folder.config(evaluator=dict(ignore_index=0)))
    assert 'val_evaluator.ignore_index=0 does not ignore' in message
    mask = halves(0, 1)
    mask[:2] = 99
    folder.write(mask)
    assert said(folder.config(head=dict(ignore_index=99), evaluator=dict(ignore_index=99))) == ''


def test_a_value_that_only_the_dataset_leaves_out(folder):
    """mmseg 0.x asked the dataset; now heads and metrics decide, and leave out 255."""
    mask = halves(0, 1)
    mask[:2] = 99
    folder.write(mask)
    cfg = folder.config(ignore_index=99)
    for training, reader in ((True, 'model.decode_head'), (False, 'test_evaluator')):
        assert f'99, which {reader}.ignore_index=255 does not ignore: set it to 99' in complaint(
            cfg, training
        )
    folder.write(halves(0, 1))
    note = said(folder.config(ignore_index=0), training=False)
    assert note == (
        "test_dataloader.dataset.ignore_index=0 alone has no effect, and class 'bg' counts: set "
        'ignore_index=0 of test_evaluator, too'
    )
    assert said(folder.config(ignore_index=0, evaluator=dict(ignore_index=0)), False) == ''


class KnowsBetter(MODELS.get('mmseg.FCNHead')):
    """Leaves out another value, unless told."""

    def __init__(self, ignore_index=99, **options):
        super().__init__(ignore_index=ignore_index, **options)


class OwnLoss(MODELS.get('mmseg.FCNHead')):
    """May leave out whatever it likes."""

    def loss_by_feat(self, seg_logits, batch_data_samples):
        raise NotImplementedError


@pytest.mark.parametrize('head', [KnowsBetter, OwnLoss])
def test_heads_that_leave_out_another_value_themselves(folder, head):
    mask = halves(0, 1)
    mask[:2] = 99
    folder.write(mask)
    cfg = folder.config(head=dict(type=head), evaluator=dict(ignore_index=99), ignore_index=99)
    assert said(cfg) == ''


def test_more_classes_than_bytes(folder):
    """255 is one of them, and the dataset's own ``ignore_index``, which nobody has set."""
    folder.write(halves(0, 1))
    cfg = folder.config(
        head=dict(num_classes=300, ignore_index=65535),
        evaluator=dict(ignore_index=65535),
        metainfo=dict(classes=[str(number) for number in range(300)]),
    )
    assert 'ignore_index' not in said(cfg)


class CutsOff(TRANSFORMS.get('Pad')):
    """Tells the model what to cut off."""

    def transform(self, results):
        return super().transform(results) | dict(padding_size=[0, 64, 0, 32])


@pytest.mark.parametrize(
    ('before', 'pad', 'words'),
    [
        ([], dict(size=(128, 64)), 'Pad makes 128x64 pixels of 64x32, and mmseg stretches'),
        ([], dict(size_divisor=48), 'Pad makes 96x48 pixels of 64x32'),
        ([], dict(size_divisor=32), ''),
        ([], dict(type='CenterCrop', crop_size=16), 'CenterCrop makes 16x16 pixels of 64x32'),
        ([], dict(type='CenterCrop', crop_size=(64, 32)), ''),
        ([dict(type='Resize', scale=(40, 20))], dict(size_divisor=32), '64x32 pixels of 40x20'),
        ([], dict(type=CutsOff, size=(128, 64)), ''),
        (
            [dict(type='ReadsLabelsItself')],
            dict(size=(128, 64)),
            '',
        ),  # fails, as the trial will say
    ],
)
def test_what_is_stretched_in_the_prediction_is_said(folder, before, pad, words):
    folder.write(halves(0, 1))
    load = [*before, dict(dict(type='Pad'), **pad), dict(type='LoadAnnotations')]
    cfg = folder.config(load)
    note = said(cfg, training=False)
    assert note.startswith('test_dataloader.dataset.pipeline: ') == bool(words) and words in note
    assert 'train_dataloader' not in said(cfg)
    cfg.model.type = OwnSegmentor
    assert said(cfg, training=False) == ''


class OwnSegmentor(MODELS.get('mmseg.EncoderDecoder')):
    def postprocess_result(self, seg_logits, data_samples=None):
        raise NotImplementedError
