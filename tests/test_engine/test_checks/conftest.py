"""Fixtures of several files."""

import pytest
from label_folders import Folder


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)
