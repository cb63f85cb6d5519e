import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope


@pytest.fixture
def cfg(stripe_config):
    """A config that evaluates `stripe_model.StripeModel`."""
    init_default_scope('mmseg')
    return Config.fromfile(stripe_config, import_custom_modules=False)
