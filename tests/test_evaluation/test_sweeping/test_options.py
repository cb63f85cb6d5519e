"""Options of a sweep that are wrong whatever the model and the data."""

import pytest

from fan_mm.errors import InputError
from fan_mm.evaluation.sweeping.options import check_options


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(benchmark='imagenet-c', channel_order='bgr-as-rgb'),
        dict(benchmark='semsegbench'),
        dict(benchmark='semsegbench', channel_order='bgr-as-rgb'),  # its own
        dict(corruptions=['fog'], severities=[1, 5], max_samples=1, on_error='skip'),
        dict(audit_colours=2),
        dict(corrupted_root='HERE'),
        dict(save_images=3, overwrite=True),  # of no concern here
    ],
)
def test_right_ones(options, tmp_path):
    if 'corrupted_root' in options:
        options = options | dict(corrupted_root=str(tmp_path))
    check_options(**options)


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(on_error='go on'), "on_error must be one of retry, skip, stop, not 'go on'"),
        (dict(benchmark='imagenet-d'), 'imagenet-d'),
        (dict(channel_order='brg'), 'channel_order must be one of'),
        (dict(benchmark='semsegbench', channel_order='rgb'), 'leave the option out'),
        (dict(benchmark='semsegbench', corrupted_root='HERE'), 'cannot be used'),
        (dict(max_samples=0), 'max_samples must be at least 1, not 0'),
        (dict(audit_colours=1), '--audit-colours 1: one image'),
        (dict(corruptions=['fig']), 'fig'),
        (dict(corrupted_root='HERE/none'), 'HERE/none is not a folder'),
        (dict(image_cache='HERE/none'), '--image-cache must be auto, off or a folder'),
    ],
)
def test_wrong_ones(options, said, tmp_path):
    here = {
        k: v.replace('HERE', str(tmp_path)) if isinstance(v, str) else v for k, v in options.items()
    }
    with pytest.raises(InputError, match=said.replace('HERE', str(tmp_path))):
        check_options(**here)
