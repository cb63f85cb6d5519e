"""What makes stored cells count: its entries are a contract with the folders that there are."""

import pytest

from fan_mm.evaluation.sweeping.identity import sweep_identity

ARGUMENTS = dict(
    name='fan',
    protocol=dict(
        precision='float32',
        seed=0,
        channel_order='rgb',
        corruption_version='1',
        corrupted_images=None,
    ),
    resized=False,
    images='made on the fly',
    model=dict(config_sha256='0123456789abcdefg', checkpoint_sha256=None),
    content='fedcba98765432100',
    samples=3,
    calibration={},
    settings={'ignore_index': 255.0},
)
ENTRIES = {
    'fingerprints': '3',
    'protocol': 'fan',
    'config': '0123456789abcdef',
    'checkpoint': 'None',
    'dataset': 'fedcba9876543210 (3 images)',
    'precision': 'float32',
    'corrupted images': 'made on the fly',
    'seed': '0',
    'channel order': 'rgb',
    'version of the corruptions': '1',
}


@pytest.mark.parametrize(
    ('change', 'more'),
    [
        ({}, {}),
        (dict(resized=True), {'place of the corruptions': 'after the resize'}),
        (dict(calibration={'temperature of': 'a'}), {'temperature of': 'a'}),
        (
            dict(model=dict(config_sha256=None, checkpoint_sha256=None)),
            {'config': 'None', 'metric: ignore_index': '255.0'},
        ),
        (
            dict(
                protocol=dict(ARGUMENTS['protocol'], corrupted_images={'fog/1': 'x', 'fog/2': 'y'})
            ),
            {'copies of fog/1': 'x', 'copies of fog/2': 'y'},
        ),
    ],
)
def test_entries(change, more):
    assert sweep_identity(**ARGUMENTS | change) == ENTRIES | more
