import os

import numpy as np
import pytest
from scipy import stats

from fan_mm.corruptions import image_key, seed_for
from fan_mm.corruptions.seeding import Stream, normal_quantiles


@pytest.mark.parametrize(
    'path',
    [
        'val2017/000000000139.jpg',
        '/data/coco/val2017/000000000139.jpg',
        'D:\\coco\\val2017\\000000000139.png',
        './val2017/000000000139.jpeg',
    ],
)
def test_image_key_is_folder_and_stem(path):
    assert image_key(path) == 'val2017/000000000139'


def test_image_key_keeps_inner_dots_and_bare_names():
    assert image_key('a/b/x.y.png') == 'b/x.y'
    assert image_key('x.png') == '/x'


def test_seed_for_is_fixed_for_ever():
    # a generated dataset and an evaluation years later must agree
    assert seed_for(0, 'frankfurt/frankfurt_000000_000294_leftImg8bit', 'snow', 3) == (
        1091287135319196643
    )


def test_seed_for_depends_on_everything_and_nothing_runs_together():
    seeds = {
        seed_for(base, key, name, severity)
        for base in (0, 1, 11)
        for key in ('a/1', 'a/11', 'a/111')
        for name in ('snow', 'fog')
        for severity in (1, 2)
    }
    assert len(seeds) == 36


def test_raw_words_are_numpys_guaranteed_stream():
    words = np.random.SFC64(5).random_raw(2)
    assert (Stream(5).uint16(8).view(np.uint64) == words).all()
    assert Stream(5).uniform(0, 1) == (int(words[0]) >> 11) / 2**53
    assert Stream(5).below(10) == int(words[0]) * 10 // 2**64


def test_normal_is_normal():
    values = normal_quantiles()
    assert values.mean() == pytest.approx(0, abs=1e-12)
    assert values.std() == pytest.approx(1, abs=1e-12)
    exact = stats.norm.cdf(values)
    assert np.abs(exact - (np.arange(65536) + 0.5) / 65536).max() < 2**-16
    assert stats.kurtosis(values) == pytest.approx(0, abs=2e-3)

    drawn = Stream(1).normal((300, 500), 2, 3)
    assert drawn.dtype == np.float32
    assert stats.kstest(drawn.ravel(), stats.norm(2, 3).cdf).pvalue > 1e-3


def test_symmetric_is_uniform():
    drawn = Stream(2).symmetric((300, 500), 4)
    assert drawn.dtype == np.float32
    assert stats.kstest(drawn.ravel(), stats.uniform(-4, 8).cdf).pvalue > 1e-3


def test_scalars_are_uniform():
    stream = Stream(3)
    angles = [stream.uniform(-45, 45) for _ in range(4000)]
    assert stats.kstest(angles, stats.uniform(-45, 90).cdf).pvalue > 1e-3
    counts = np.bincount([stream.below(7) for _ in range(7000)], minlength=7)
    assert len(counts) == 7
    assert stats.chisquare(counts).pvalue > 1e-3


def test_file_names_that_are_no_utf8_have_seeds_of_their_own():
    keys = [image_key(os.fsdecode(name)) for name in (b'town/\xff.png', b'town/\xfe.png')]
    assert len({seed_for(0, key, 'fog', 1) for key in keys}) == 2


def test_nobody_changes_the_table_of_normal_values():
    normal_quantiles.cache_clear()
    with pytest.raises(ValueError, match='read-only'):
        normal_quantiles()[0] = 0
