"""What a predictor calls the classes (what it predicts: test_jobs/test_demo.py)."""

import pytest

from fan_mm.engine.predictor import Predictor
from fan_mm.engine.runtime import register_task_library

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
