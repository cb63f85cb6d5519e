"""Which checkpoint an interrupted training continues from."""

import math
import re
from pathlib import Path

from fan_mm.errors import InputError
from fan_mm.torch_files import DamagedFileError, read_torch_file


def newest_checkpoint(work_dir: str | Path) -> tuple[Path | None, list[str]]:
    """Find the newest checkpoint of a work dir that can be read.

    If a process is killed while it writes a checkpoint, that one is damaged, but the one before it is not.

    Args:
        work_dir: the folder of ``last_checkpoint`` and ``iter_*.pth`` or ``epoch_*.pth``.

    Returns:
        The file, or None if there is nothing to resume from (no checkpoint, or only a damaged one because
        the process was killed during the first save); and a line for the log about each damaged checkpoint
        that was skipped.

    Raises:
        InputError: there are checkpoints, but none can be read.
    """
    candidates = _candidates(Path(work_dir))
    complaints, damaged = [], True
    for path in candidates:
        try:
            read_training_state(path)
        except InputError as error:
            complaints.append(f'not resumed: {error}')
            damaged = damaged and isinstance(error, DamagedFileError)
        else:
            return path, complaints
    if len(complaints) == 1 and damaged:
        return None, complaints
    if complaints:
        raise InputError(f'{work_dir}: no checkpoint can be read; {complaints[0]}')
    return None, []


def read_training_state(path: str | Path) -> dict:
    """Read a checkpoint that training can resume from.

    Raises:
        InputError: it cannot be read safely, or holds no training state.
    """
    checkpoint = read_torch_file(path)
    state = checkpoint if isinstance(checkpoint, dict) else {}
    meta = state.get('meta')
    if not isinstance(meta, dict) or 'iter' not in meta or 'optimizer' not in state:
        raise InputError(
            f'{path} contains no training state: load its weights with load_from instead'
        )
    return state


def _candidates(work_dir: Path) -> list[Path]:
    """The last checkpoint as mmengine recorded it, then the others, newest first.

    It is preceded by checkpoints of later steps that are newer than ``last_checkpoint``, which the run was
    killed before it could update. (Older files of later steps belong to another run.)
    """
    note = work_dir / 'last_checkpoint'
    noted = _read_note(note)
    folder = noted.parent if noted else work_dir
    steps = {}
    for path in folder.glob('*.pth'):
        if match := re.fullmatch(r'(?:iter|epoch)_(\d+)\.pth', path.name):
            steps[path] = int(match[1])
    others = sorted(steps, key=steps.__getitem__, reverse=True)
    if noted is None:
        return others
    written = note.stat().st_mtime_ns
    not_noted = [
        path
        for path in others
        if steps[path] > steps.get(noted, math.inf) and path.stat().st_mtime_ns > written
    ]
    first = [*not_noted, noted]
    return first + [path for path in others if path not in first]


def _read_note(note: Path) -> Path | None:
    """The file that ``last_checkpoint`` names, if it exists.

    A file of that name beside the note comes first: a copy of a work dir must not go on from the original.
    """
    last = Path(note.read_text(errors='replace').strip() if note.is_file() else '')
    try:
        return next(file for file in (note.with_name(last.name), last) if file.is_file())
    except (StopIteration, OSError, ValueError):  # the latter: damaged, not a valid file name
        return None
