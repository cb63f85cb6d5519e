"""Which files of a folder do not say of which protocol their numbers are."""

import re

import numpy as np
from PIL import Image

LOGS = 'log'  # mmengine's


def said_in(path):
    """What a file says by itself: its text, or the words among a picture's or an array file's own data."""
    if path.suffix == '.npz':
        with np.load(path) as arrays:
            return ' '.join(str(arrays[n]) for n in arrays.files if arrays[n].dtype.kind == 'U')
    if path.suffix in ('.png', '.jpg'):
        with Image.open(path) as picture:
            return ' '.join(str(value) for value in picture.info.values())
    if path.suffix == '.pdf':
        return ' '.join(re.findall(r'/Title \((.*?)\)', path.read_bytes().decode('latin-1')))
    return path.read_text()


def unnamed(folder, *names):
    """Paths of the files that say none of some names, and the number of all."""
    files = [
        path
        for path in sorted(folder.rglob('*'))
        if path.is_file() and LOGS not in path.relative_to(folder).parts
    ]
    found = [str(p.relative_to(folder)) for p in files if not any(n in said_in(p) for n in names)]
    return found, {path.suffix for path in files}
