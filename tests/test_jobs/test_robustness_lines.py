"""What a sweep prints at its end, writes into the logs, and says when it is stopped."""

from types import SimpleNamespace

import pytest
from mmengine.config import Config

from fan_mm.errors import InputError
from fan_mm.jobs import robustness


def value(number, missing=(), interval=None, **more):
    return dict(value=number, missing=list(missing), interval=interval, **more)


def mean(number, missing=()):
    return dict(mean=number, missing=list(missing))


RESULTS = dict(
    benchmark=dict(name='FAN'),
    metric=dict(name='mIoU', unit='%'),
    dataset=dict(samples=3),
    cells=[
        dict(corruption='clean', severity=0, status='done', error=None),
        dict(corruption='fog', severity=1, status='failed', error='no memory'),
        dict(corruption='fog', severity=2, status='missing', error=None),
    ],
    summary=dict(
        clean=80.126,
        corruptions=dict(fog=mean(None, ['fog/1', 'fog/2']), snow=mean(40.0)),
        groups=dict(weather=mean(None, ['fog/1', 'fog/2']), noise=mean(7.5)),
        mean=value(60.0, interval=[58.123, 62.0]),
        retention=value(None, ['fog/1']),
        worst=value(40.0, corruption='snow'),
        mPC_15=value(1.0),
        rPC_15=value(2.0),
        mean_16=value(3.0),
        retention_16=value(4.0),
        mCE=value(55.0),
        relative_mCE=value(5.0),
    ),
    other_summaries=dict(
        aAcc=dict(clean=90.0, mean=value(70.0, interval=[60.0, 80.555])),
        mAcc=dict(clean=None, mean=value(None)),
    ),
    audit=dict(findings=[]),
)
TEXT = """\
FAN, mIoU in %, 3 images
  clean                    80.13
  fog                     incomplete (2 cells missing)
  snow                     40.00
  mean of weather         incomplete (2 cells missing)
  mean of noise             7.50
  mean                     60.00 [58.12, 62.00]
  retention               incomplete (1 cells missing)
  worst                    40.00 (snow)
  mPC_15                    1.00
  rPC_15                    2.00
  mean_16                   3.00
  retention_16              4.00
  mCE                      55.00
  relative_mCE              5.00
  aAcc                    clean  90.00, mean  70.00 [60.00, 80.56]
  mAcc                    clean undefined, mean undefined"""


def test_summary(monkeypatch):
    monkeypatch.setattr(robustness, 'calibration_text', lambda results: [])
    assert robustness.summary_text(RESULTS) == TEXT
    old = RESULTS | dict(metric=dict(name='mIoU'))  # of an earlier version
    assert robustness.summary_text(old) == TEXT
    without = RESULTS | dict(summary=RESULTS['summary'] | dict(mCE=None))
    assert robustness.summary_text(without) == TEXT.replace(
        '  mCE                      55.00\n', ''
    )
    monkeypatch.setattr(robustness, 'calibration_text', lambda results: ['  ECE'])
    other = RESULTS | dict(metric=dict(name='score', unit=None))
    text = robustness.summary_text(other)
    assert text.startswith('FAN, score as returned by the metric, 3 images\n')
    assert text.endswith('\n  ECE')


@pytest.mark.parametrize(
    ('status', 'words'), [('done', 'undefined'), ('failed', 'incomplete (1 cells missing)')]
)
def test_no_clean_score(status, words):
    results = dict(RESULTS, summary=dict(RESULTS['summary'], clean=None))
    results['cells'] = [dict(RESULTS['cells'][0], status=status), *RESULTS['cells'][1:]]
    lines = robustness.summary_text(results).splitlines()
    assert lines[1] == f'  clean                   {words}'
    assert lines[-1] == f'  mAcc                    clean {words}, mean undefined'


def test_cells_without_a_result():
    assert robustness.failed_cells(RESULTS) == ['fog/1: no memory', 'fog/2: missing']


def test_findings(monkeypatch):
    monkeypatch.setattr(robustness, 'in_words', lambda finding: finding['evidence'])
    findings = [dict(check='crops', evidence='all 3'), dict(check='colours', evidence='2 points')]
    assert robustness.findings_text(dict(audit=dict(findings=findings))) == [
        *('audit, crops: all 3', 'audit, colours: 2 points')
    ]


def test_scalars_for_the_logs():
    assert robustness._scalars(RESULTS) == {'robustness/mean': 60.0, 'robustness/clean': 80.126}


@pytest.mark.parametrize('overwrite', [None, False, True])
def test_how_to_go_on(overwrite):
    sweep = SimpleNamespace(stored=lambda: [1, 2], cells=[1, 2, 3], rank=0)
    options = {} if overwrite is None else dict(overwrite=overwrite)
    without = ' without --overwrite' if overwrite else ''
    goes_on = f'the same command{without} continues'
    line = robustness._how_to_go_on(sweep, options)
    assert line == f'2 of 3 cells are stored; {goes_on}'
    sweep.rank = 1  # which has no store
    assert robustness._how_to_go_on(sweep, options) == goes_on


METRIC = dict(type='IoUMetric')


@pytest.mark.parametrize(
    ('test', 'why'),
    [
        (dict(test_dataloader=1, test_evaluator=METRIC), None),
        (dict(test_evaluator=METRIC), 'the config has no test split'),
        (dict(test_dataloader=1), 'the config has no test split'),
        (dict(test_dataloader=1, test_evaluator=[]), 'the config has no test split'),
        (
            dict(test_dataloader=1, test_evaluator=dict(METRIC, format_only=True)),
            r'the test split has no annotations \(format_only\)',
        ),
    ],
)
@pytest.mark.parametrize('fp16', [None, False, True])
def test_the_split_that_is_evaluated(test, why, fp16):
    test |= {} if fp16 is None else dict(test_cfg=dict(type='Own', fp16=fp16))
    val = dict(val_dataloader=2, val_evaluator=dict(METRIC, prefix='val'))
    cfg = Config(test | val)
    notes = robustness.use_annotated_split(cfg)
    if why is None:
        assert notes == [] and cfg.test_dataloader == 1
        return
    assert notes == [f'{why}: evaluating the validation split'.replace('\\', '')]
    assert (cfg.test_dataloader, cfg.test_evaluator) == (2, val['val_evaluator'])
    assert cfg.test_cfg == dict(fp16=bool(fp16))
    for name in val:
        with pytest.raises(
            InputError, match=f'^{why}, and there are no val_dataloader and val_eval'
        ):
            robustness.use_annotated_split(Config(test | val | {name: None}))
