from collections import Counter

import cv2
import numpy as np
import pytest
from mmcv.transforms.utils import cache_random_params
from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from fan_mm.corruptions import GROUPS, corrupt
from fan_mm.datasets import RandomCorruption
from fan_mm.errors import InputError


@pytest.fixture
def image():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return cv2.resize(pixels, (48, 40), interpolation=cv2.INTER_CUBIC)


def draws(transform, count):
    """What `count` samples would get, without the work of corrupting them."""
    np.random.seed(0)
    return [transform._draw() for _ in range(count)]


def test_it_does_what_it_records(image):
    np.random.seed(3)
    transform = TRANSFORMS.build(
        dict(type='RandomCorruption', corruptions=['noise', 'fog'], severities=[2, 3], prob=1.0)
    )
    for _ in range(5):
        results = transform(dict(img=image.copy()))
        record = results['corruption']
        assert record['name'] in (*GROUPS['noise'], 'fog')
        assert record['severity'] in (2, 3)
        expected = corrupt(
            image, record['name'], record['severity'], seed=record['seed'], channel_order='bgr'
        )
        assert np.array_equal(results['img'], expected)


def test_it_follows_numpys_global_seed(image):
    transform = RandomCorruption(['blur', 'weather'], prob=0.8)
    runs = []
    for seed in (11, 11, 12):
        np.random.seed(seed)
        runs.append([transform(dict(img=image))['img'] for _ in range(6)])
    assert all(map(np.array_equal, runs[0], runs[1]))
    assert not all(map(np.array_equal, runs[0], runs[2]))


def test_prob(image):
    never = RandomCorruption(['snow'], prob=0.0)
    results = never(dict(img=image))
    assert np.array_equal(results['img'], image)
    assert results['corruption'] == dict(name='clean', severity=0, seed=0)
    share = np.mean(
        [name != 'clean' for name, *_ in draws(RandomCorruption(['snow'], prob=0.3), 4000)]
    )
    assert share == pytest.approx(0.3, abs=0.03)


def test_names_groups_and_severities_come_as_often_as_asked():
    transform = RandomCorruption(
        dict(noise=2, snow=1, fog=1, frost=0), severities={1: 3, 5: 1}, prob=1.0
    )
    drawn = draws(transform, 8000)
    names = Counter(name for name, *_ in drawn)
    assert set(names) == {*GROUPS['noise'], 'snow', 'fog'}
    for name in GROUPS['noise']:
        assert names[name] / 8000 == pytest.approx(0.5 / 4, abs=0.015)
    assert names['snow'] / 8000 == pytest.approx(0.25, abs=0.02)
    severities = Counter(severity for _, severity, _ in drawn)
    assert severities[1] / 8000 == pytest.approx(0.75, abs=0.02)
    assert set(severities) == {1, 5}
    assert len({seed for *_, seed in drawn}) > 7900


def test_several_images_can_share_one_draw(image):
    transform = RandomCorruption(['noise', 'blur', 'weather', 'digital'], prob=1.0)
    np.random.seed(0)
    with cache_random_params(transform):
        first, second = (transform(dict(img=image)) for _ in range(2))
    assert first['corruption'] == second['corruption']
    assert np.array_equal(first['img'], second['img'])
    assert len({transform(dict(img=image))['corruption']['seed'] for _ in range(4)}) == 4


def test_a_dumped_config_draws_the_same():
    config = Config(
        dict(t=dict(corruptions=dict(snow=2, blur=1), severities={3: 1, 1: 2}, prob=0.7))
    )
    dumped = Config.fromstring(config.pretty_text, '.py')
    assert list(dumped.t.corruptions) != list(config.t.corruptions)
    assert draws(RandomCorruption(**dumped.t), 50) == draws(RandomCorruption(**config.t), 50)


def test_a_single_name_and_severity_need_no_list():
    drawn = draws(RandomCorruption('snow', severities=4, prob=1.0), 10)
    assert {(name, severity) for name, severity, _ in drawn} == {('snow', 4)}


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(corruptions=['wether']), 'unknown corruption'),
        (dict(corruptions=[]), 'at least one'),
        (dict(corruptions=dict(snow=0)), 'weights'),
        (dict(corruptions=dict(snow=-1, fog=2)), 'weights'),
        (dict(corruptions=dict(snow=float('nan'))), 'weights'),
        (dict(corruptions=['snow'], severities=[0]), 'severity'),
        (dict(corruptions=['snow'], severities=True), 'severity'),
        (dict(corruptions=['snow'], severities=[]), 'severities'),
        (dict(corruptions=['snow'], prob=1.5), 'probability'),
        (dict(corruptions=['snow'], channel_order='hsv'), 'channel_order'),
    ],
)
def test_mistakes_are_told_when_the_pipeline_is_built(arguments, message):
    with pytest.raises(InputError, match=message):
        RandomCorruption(**arguments)
