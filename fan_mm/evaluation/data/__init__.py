"""Facts that others published, as JSON files that name their sources."""

import functools
import json
from importlib import resources
from typing import Any


@functools.cache
def facts(name: str) -> Any:
    """The content of a file of this folder, named without ``.json``; read once."""
    return json.loads(resources.files(__package__).joinpath(f'{name}.json').read_bytes())
