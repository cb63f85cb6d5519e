"""Parts of foreign configs, in every form that OpenMMLab lets them have."""

import pytest
from mmengine.config import ConfigDict
from mmengine.evaluator import DumpResults, Evaluator

from fan_mm.config_parts import datasets_of, metrics_of, parts_below, scope_of, steps_of, type_name

METRIC = dict(type='CocoMetric', metric='bbox')


@pytest.mark.parametrize('kind', ['DumpResults', 'mmengine.DumpResults', DumpResults])
def test_a_type_in_any_form(kind):
    assert type_name(dict(type=kind)) == 'DumpResults'


@pytest.mark.parametrize('cfg', [{}, dict(type=None), None, DumpResults('a.pkl')])
def test_no_type(cfg):
    assert type_name(cfg) == ''


@pytest.mark.parametrize(
    'evaluator',
    [
        METRIC,
        [METRIC],
        (METRIC,),
        dict(metrics=METRIC),
        dict(metrics=[METRIC]),
        dict(type='Evaluator', metrics=[METRIC]),
        [dict(type='Evaluator', metrics=METRIC)],
        ConfigDict(type='MultiDatasetsEvaluator', metrics=[METRIC], dataset_prefixes=['a']),
    ],
)
def test_metrics_of_an_evaluator_in_any_form(evaluator):
    assert metrics_of(evaluator) == [METRIC]


def test_metrics_that_are_built():
    metric = DumpResults('a.pkl')
    assert metrics_of(metric) == metrics_of([metric]) == metrics_of(Evaluator(metric)) == [metric]


@pytest.mark.parametrize('evaluator', [None, {}, []])
def test_no_metrics(evaluator):
    assert metrics_of(evaluator) == []


def test_the_configs_themselves_are_given_so_that_they_can_be_changed():
    evaluator = ConfigDict(metrics=[dict(METRIC)])
    metrics_of(evaluator)[0]['ann_file'] = 'there.json'
    assert evaluator.metrics[0].ann_file == 'there.json'


def test_datasets_inside_wrappers():
    one, two = dict(type='A'), dict(type='B')
    wrapped = dict(
        type='RepeatDataset',
        dataset=dict(type='ConcatDataset', datasets=[one, dict(type='C', dataset=two)]),
    )
    found = dict(datasets_of('train', wrapped))
    assert found == {'train.dataset.datasets.0': one, 'train.dataset.datasets.1.dataset': two}


def test_steps_inside_wrappers_and_alternatives():
    one, two, three = dict(type='A'), dict(type='B'), dict(type='C')
    choice = dict(type='RandomChoice', transforms=[[one, two], [three]])
    built = DumpResults('a.pkl')
    albu = dict(type='mmdet.Albu', transforms=[dict(type='OfAnotherLibrary')])
    assert list(steps_of([built, choice, albu])) == [built, choice, one, two, three, albu]
    assert list(steps_of(None)) == list(steps_of([])) == []


@pytest.mark.parametrize(
    ('cfg', 'scope'),
    [
        (dict(default_scope='mmdet', model=dict(type='mmseg.EncoderDecoder')), 'mmdet'),
        (dict(model=dict(type='mmseg.EncoderDecoder')), 'mmseg'),
        (dict(default_scope=None, model=dict(type='ImageClassifier')), 'mmpretrain'),
        (dict(model=dict(type=DumpResults)), None),
        (dict(model=dict(type='MyOwn')), None),
        (dict(), None),
    ],
)
def test_the_library_of_a_config(cfg, scope):
    assert scope_of(cfg) == scope


def test_every_dict_of_a_part_has_its_place():
    model = dict(type='A', head=[dict(type='B'), 1], init_cfg=({}, dict(loss=dict(type='C'))))
    assert [place for place, _ in parts_below('model', model)] == [
        *('model', 'model.head.0', 'model.init_cfg.0', 'model.init_cfg.1', 'model.init_cfg.1.loss')
    ]
    assert list(parts_below('', dict(a=dict(b=1)))) == [('', dict(a=dict(b=1))), ('a', dict(b=1))]
    assert list(parts_below('x', 1)) == []
