"""The one line that is said of a config that is wrong."""

import pytest

from fan_mm.engine import prepare_runtime
from fan_mm.engine.config_checks import check_data
from fan_mm.errors import InputError


def complaint(cfg, training=True):
    with pytest.raises(InputError) as error:
        prepare_runtime(cfg, training=training)
    assert '\n' not in str(error.value)
    return str(error.value)


def data_complaint(cfg, training=True):
    """Without the model, which is built in a second."""
    with pytest.raises(InputError) as error:
        check_data(cfg, training)
    assert '\n' not in str(error.value)
    return str(error.value)
