"""What a comparison says: its columns, marks, places, differences and captions, word by word."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from fan_mm.report import comparison_words as words
from fan_mm.report.comparison import Difference, Entry
from fan_mm.report.labels import DASH, MINUS, UNLIKE
from fan_mm.report.latex import bare


def measure(value, interval):
    return SimpleNamespace(value=value, interval=interval)


BARE = Entry(
    name='b',
    publication='',
    published=(),
    clean=80.0,
    mean=None,
    mean_interval=None,
    retention=None,
    retention_interval=None,
    worst=None,
    mce=None,
    real={},
    groups={},
    corruptions={},
    comparable=True,
    unlike=frozenset(),
)
FULL = replace(
    BARE,
    name='a',
    mean=60.04,
    mean_interval=(58.0, 62.0),
    retention=75.0,
    retention_interval=(74.0, 76.0),
    worst=40.0,
    mce=51.5,
    real={'ACDC test': 63.6},
    groups={'noise': 50.0},
    corruptions={'fog': 30.0},
    calibration={'mean_ECE': 5.0, 'clean_NLL': 0.5},
    others={'mAcc': measure(70.0, (69.0, 71.0)), 'aAcc': measure(None, None)},
)


def comparison(*entries, **changes):
    given = dict(
        benchmark='Cityscapes-C',
        metric='mIoU',
        digits=1,
        level=0.95,
        unit_label='%',
        groups={'noise': ('snow',), 'weather': ('fog',)},
        corruptions=('snow', 'fog'),
        entries=entries,
        ranks={'a': {'fog': 1}, 'b': {'fog': 1, 'snow': 2}, 'c': {'fog': 3}},
        places={},
        differences=(),
        tables=(SimpleNamespace(others_title='Other scores'),),
    )
    return SimpleNamespace(**given | changes)


def test_columns_of_the_summary():
    both = comparison(FULL, BARE)
    assert words.title(both) == 'Robustness on Cityscapes-C'
    columns = words.summary_columns(both)
    assert list(columns) == [
        *('clean mIoU ↑', 'corrupted mean ↑', 'retention ↑', 'worst ↑', 'mCE ↓'),
        *('mean ECE ↓', 'noise', 'weather', 'ACDC test ↑'),
    ]
    assert words.columnwise(columns, both.entries) == [
        [
            *('a', '80.0', '60.0 [58.0, 62.0]', '75.0 [74.0, 76.0]', '40.0', '51.5'),
            *('5.00', '50.0', DASH, '63.6'),
        ],
        ['b', '80.0', *[DASH] * 8],
    ]
    finer = words.summary_columns(comparison(FULL, BARE, digits=3))
    assert words.columnwise(finer, [FULL]) == [
        [
            *('a', '80.000', '60.040 [58.0, 62.0]', '75.0 [74.0, 76.0]', '40.000', '51.5'),
            *('5.00', '50.000', DASH, '63.6'),
        ]
    ]
    alone = words.summary_columns(comparison(BARE))
    assert list(alone) == ['clean mIoU ↑', 'corrupted mean ↑', 'retention ↑', 'noise', 'weather']


def test_means_over_other_cells_are_marked():
    other = replace(FULL, unlike=frozenset({'mean', 'worst', 'noise', 'fog'}))
    [[_, clean, *marked, real]] = words.columnwise(
        {
            k: v
            for k, v in words.summary_columns(comparison(other)).items()
            if k not in ('mCE ↓', 'weather')
        },
        [other],
    )
    assert UNLIKE not in clean + real and all(UNLIKE in text for text in marked)
    for entry, text in ((other, f'30.0{UNLIKE}'), (FULL, '30.0'), (BARE, DASH)):
        snow, fog = words.scores(comparison(FULL, entry), entry)
        assert (snow.text, fog.text) == (DASH, text)


def test_columns_of_calibration():
    columns = words.calibration_columns(comparison(FULL, BARE))
    texts = words.columnwise(columns, [FULL, BARE])
    assert len(columns) == 2 and all(name.endswith(' ↓') for name in columns)
    assert sorted(texts[0]) == ['0.500', '5.00', 'a'] and texts[1] == ['b', DASH, DASH]
    marked = replace(FULL, unlike=frozenset({'mean'}))
    assert [UNLIKE in text for text in words.columnwise(columns, [marked])[0][1:]].count(True) == 1
    assert len(words.calibration_columns(comparison(FULL), 'NLL')) == 1


def test_columns_of_other_scores():
    both = comparison(FULL, replace(BARE, others={'mAcc': measure(50.0, None)}), BARE)
    others, calibration = words.further_tables(both)
    columns = others.columns
    assert list(columns) == ['mAcc ↑']
    assert words.columnwise(columns, both.entries) == [
        ['a', '70.0 [69.0, 71.0]'], ['b', '50.0'], ['b', DASH]
    ]  # fmt: skip
    assert bare(columns['mAcc ↑'](FULL)) == '70.0'
    assert others.entries == list(both.entries[:2])
    assert calibration.entries == [FULL] and len(calibration.columns) == 2
    assert not words.further_tables(comparison(BARE))


@pytest.mark.parametrize(
    ('level', 'unit', 'caption', 'intervals'),
    [
        (
            *(0.95, '%', 'Mean over Cityscapes-C, per cent.'),
            ' In brackets 95 % bootstrap intervals.',
        ),
        (None, '', 'Mean over Cityscapes-C.', ''),
    ],
)
def test_captions(level, unit, caption, intervals):
    others, calibration = words.further_tables(comparison(FULL, level=level, unit_label=unit))
    assert (others.caption, others.intervals) == (caption, intervals)
    assert calibration.caption.startswith(
        'Calibration on clean images, and the mean over Cityscapes-C: ECE'
    )


def test_places():
    places = {'a': {'clean': (2, 5), 'mean': (1, 4), 'worst': (3, 4)}, 'b': {'clean': (1, 5)}}
    assert words.places(comparison(places=places)) == [
        'a: place 2 of 5 on clean images, place 1 of 4 by the corrupted mean, place 3 of 4 by the '
        'worst corruption.',
        'b: place 1 of 5 on clean images.',
    ]


def test_who_is_best():
    snow, fog = words.scores(comparison(FULL), FULL)
    assert (snow.best, snow.below, snow.share) == (False, '', None)
    assert (fog.best, fog.below, fog.share) == (True, '(1)', 1 - 30 / 80)
    snow, fog = words.scores(comparison(FULL), replace(FULL, name='b'))
    assert (snow.best, snow.below) == (False, '(2)') and fog.best
    assert not words.scores(comparison(FULL), replace(FULL, name='c'))[1].best


def test_entries_with_corruptions():
    none = replace(FULL, corruptions={'fog': None, 'rain': 3.0})
    assert words.with_corruptions(comparison(FULL, BARE, none)) == [FULL]


@pytest.mark.parametrize(
    ('name', 'published', 'label'),
    [
        ('a', (), 'a'),
        ('a', ('Table 9',), 'a (published)'),
        ('a (published)', ('Table 9',), 'a (published)'),
    ],
)
def test_labels(name, published, label):
    assert words.labelled(replace(BARE, name=name, published=published)) == label


def difference(measure='mean', points=1.25, interval=(1.0, 1.5), significant=True, score=''):
    return Difference('b', measure, points, interval, significant, score)


@pytest.mark.parametrize(
    ('found', 'digits', 'row'),
    [
        (difference(), 3, ['b', 'corrupted mean ↑', '+1.250', '[1.000, 1.500]', 'yes']),
        (difference('clean'), 3, ['b', 'clean ↑', '+1.250', '[1.000, 1.500]', 'yes']),
        (difference('worst'), 3, ['b', 'worst ↑', '+1.250', '[1.000, 1.500]', 'yes']),
        (difference('retention'), 3, ['b', 'retention ↑', '+1.2', '[1.0, 1.5]', 'yes']),
        (
            difference('mCE', -2.0, (-3.0, 1.0), False),
            1,
            ['b', 'mCE ↓', '-2.0', '[-3.0, 1.0]', 'no'],
        ),
        (
            difference('relative_mCE', -2.0, None, None),
            1,
            ['b', 'relative mCE ↓', '-2.0', '', 'no interval'],
        ),
        (
            difference('mean', score='mAcc'),
            1,
            ['b', 'mAcc: corrupted mean ↑', '+1.2', '[1.0, 1.5]', 'yes'],
        ),
        (
            difference('clean_NLL', 0.0625, (0.05, 0.075)),
            1,
            ['b', 'clean NLL ↓', '+0.062', '[0.050, 0.075]', 'yes'],
        ),
    ],
)
def test_rows_of_differences(found, digits, row):
    texts = [
        text.replace(MINUS, '-') for text in words.difference_row(comparison(digits=digits), found)
    ]
    assert texts == row
    assert words.DIFFERENCE_HEAD == ['model', 'measure', 'difference', 'interval', 'excludes 0']


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        (
            {},
            'Each model minus a, in points, with the 95 % interval of the paired bootstrap over images. If '
            'it excludes 0, the choice of images does not explain the difference.',
        ),
        (
            dict(level=None, unit_label=''),
            "Each model minus a, in the metric's unit (retention in points).",
        ),
        (
            dict(level=None, differences=(difference(), difference('clean_NLL'))),
            'Each model minus a, in points. NLL is in nats, the Brier score goes from 0 to 2.',
        ),
    ],
)
def test_the_text_above_differences(changes, text):
    assert words.difference_text(comparison(FULL, BARE, **changes)) == text
