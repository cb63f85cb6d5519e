"""Reports written once for all tests that look at them."""

import pytest
from synthetic_results import write_results

from fan_mm.report import write_report


@pytest.fixture(scope='session')
def segmentation_report(tmp_path_factory):
    """Folder with the report of a complete Cityscapes-C sweep with a gallery of two images."""
    folder = tmp_path_factory.mktemp('segmentation')
    write_report(write_results(folder, gallery=2), folder)
    return folder


@pytest.fixture(scope='session')
def incomplete_report(tmp_path_factory):
    """Folder with the report of an ImageNet-C sweep, hold-outs included, in which cells are missing."""
    folder = tmp_path_factory.mktemp('incomplete')
    absent, failed = [('snow', 4), ('fog', 1)], [('contrast', 2)]
    path = write_results(folder, 'classification', name='fan_vit_t', absent=absent, failed=failed)
    write_report(path, folder)
    return folder
