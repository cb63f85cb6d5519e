"""What the installed OpenMMLab packages can do, where the two brands differ."""

from pathlib import Path

import pytest
from mmengine.config import Config


def _writes_classes() -> bool:
    try:
        return bool(Config(dict(model=dict(type=Path))).pretty_text)
    except Exception:  # mmengine 0.10.7: yapf's complaint of <class ...>
        return False


needs_classes_as_types = pytest.mark.skipif(
    not _writes_classes(), reason='this mmengine cannot write a config whose types are classes'
)
