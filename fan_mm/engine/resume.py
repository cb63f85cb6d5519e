"""Which checkpoint an interrupted training continues from."""

import re
from pathlib import Path

from fan_mm.errors import InputError
from fan_mm.torch_files import read_torch_file


def newest_checkpoint(work_dir: str | Path) -> tuple[Path | None, list[str]]:
    """Find the newest checkpoint of a work dir that can be read.

    A kill while a checkpoint is written leaves it damaged; the one before it is whole.

    Args:
        work_dir: the folder of ``last_checkpoint`` and ``iter_*.pth`` or ``epoch_*.pth``.

    Returns:
        The file, or None if there is no checkpoint at all; and a line for the log about each
        damaged one that was passed over.

    Raises:
        InputError: there are checkpoints, but none can be read.
    """
    candidates = _candidates(Path(work_dir))
    complaints = []
    for path in candidates:
        try:
            read_training_state(path)
        except InputError as error:
            complaints.append(f'not resumed: {error}')
        else:
            return path, complaints
    if complaints:
        raise InputError(f'{work_dir}: no checkpoint can be read; {complaints[0]}')
    return None, []


def read_training_state(path: str | Path) -> dict:
    """Read a checkpoint that training can resume from.

    Raises:
        InputError: it cannot be read safely, or holds no training state.
    """
    checkpoint = read_torch_file(path)
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    if not isinstance(meta, dict) or 'iter' not in meta or 'optimizer' not in checkpoint:
        raise InputError(f'{path} holds no training state: load its weights with load_from instead')
    return checkpoint


def _candidates(work_dir: Path) -> list[Path]:
    """The checkpoints, newest first; one that was noted under a name without a step leads.

    A kill between the two leaves a checkpoint that mmengine has written, but not yet noted.
    """
    noted = _noted(work_dir)
    folder = noted.parent if noted else work_dir
    steps = {}
    for path in folder.glob('*.pth'):
        if match := re.fullmatch(r'(?:iter|epoch)_(\d+)\.pth', path.name):
            steps[path] = int(match[1])
    newest_first = sorted(steps, key=steps.get, reverse=True)
    return newest_first if noted is None or noted in steps else [noted, *newest_first]


def _noted(work_dir: Path) -> Path | None:
    """The last checkpoint as mmengine noted it, if the note is readable and the file there."""
    note = work_dir / 'last_checkpoint'
    last = note.read_text(errors='replace').strip() if note.is_file() else ''
    try:
        return Path(last) if last and Path(last).is_file() else None
    except (OSError, ValueError):  # no name that a file can have
        return None
