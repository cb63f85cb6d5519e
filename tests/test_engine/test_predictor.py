"""What a predictor calls the classes and what it takes (what it predicts: test_jobs/test_demo.py)."""

import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope

from fan_mm.engine.predictor import Predictor
from fan_mm.engine.predictor import test_pipeline as make_pipeline
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError

pytest.importorskip('mmpretrain')


@pytest.mark.parametrize(
    ('folders', 'model', 'classes'),
    [
        (['dog', 'cat'], dict(head=dict(num_classes=2)), ('cat', 'dog')),
        (['dog', 'cat'], dict(type='TimmClassifier'), ('cat', 'dog')),
        (['dog', 'cat'], dict(module=dict(head=dict(num_classes=2))), ('cat', 'dog')),
        (['dog', 'cat'], dict(head=dict(num_classes=3)), ()),  # which three?
        (['n01440764', 'n01443537'], dict(type='TimmClassifier'), ()),  # a subset of ImageNet's
        ([], dict(type='TimmClassifier'), ()),
        (None, dict(type='TimmClassifier'), ()),  # the data are not here
    ],
)
def test_class_folders_name_the_classes(tmp_path, folders, model, classes):
    register_task_library(dict(default_scope='mmpretrain'))
    root = tmp_path / 'data'
    for name in ['', *folders] if folders is not None else []:
        (root / name).mkdir()
    predictor = object.__new__(Predictor)
    predictor.scope = 'mmpretrain'
    predictor.dataset_cfg = dict(type='CustomDataset', data_root=str(root), pipeline=[])
    assert predictor._folders(model) == classes


@pytest.mark.parametrize(
    ('dataset', 'names'),
    [
        (dict(type='CustomDataset', metainfo=dict(classes='names.txt')), ('cat', 'dog')),
        (dict(type='CustomDataset', classes=['cat', 'dog']), ('cat', 'dog')),
        (dict(type='CustomDataset'), None),
        (dict(type='OfALibraryThatIsMissing', metainfo=dict(classes=['cat'])), ['cat']),
        (dict(type='OfALibraryThatIsMissing', metainfo=dict(classes='names.txt')), None),
        (None, None),
    ],
)
def test_classes_of_the_test_split(tmp_path, monkeypatch, dataset, names):
    register_task_library(dict(default_scope='mmpretrain'))
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'names.txt').write_text('cat\ndog\n')
    predictor = object.__new__(Predictor)
    predictor.scope, predictor.dataset_cfg = 'mmpretrain', dataset
    assert predictor._dataset_metainfo().get('classes') == names


@pytest.mark.parametrize(
    'name', ['LoadAnnotations', 'mmseg.LoadDepthAnnotation', 'LoadBiomedicalAnnotation']
)
def test_steps_that_load_annotations_are_left_out(name):
    predictor = object.__new__(Predictor)
    predictor.scope = 'mmengine'
    pipeline = [dict(type='mmcv.LoadImageFromFile'), dict(type=name)]
    predictor.dataset_cfg = dict(type='RepeatDataset', dataset=dict(type='A', pipeline=pipeline))
    assert [type(step) for step in make_pipeline(predictor).transforms] == [LoadImageFromFile]


@pytest.mark.parametrize('error', [NotImplementedError('tensor mode'), KeyError('Gallery')])
def test_a_model_that_takes_something_else_is_told_from_our_own_mistake(error):
    class Tracker(BaseModel):
        def forward(self, inputs, data_samples, mode):
            assert DefaultScope.get_current_instance().scope_name == 'mmdet'
            raise error

    predictor = object.__new__(Predictor)
    predictor.scope, predictor.model = 'mmdet', Tracker()
    with pytest.raises(InputError, match=r'^Tracker cannot predict for a single image: ') as said:
        predictor(dict(inputs=torch.zeros(3, 2, 2), data_samples=None))
    assert said.value.__cause__ is error
