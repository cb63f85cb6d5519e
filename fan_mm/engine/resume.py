"""Which checkpoint an interrupted training continues from."""

import logging
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner

from fan_mm.errors import InputError
from fan_mm.few_names import few
from fan_mm.torch_files import DamagedFileError, read_torch_file


def newest_checkpoint(work_dir: str | Path) -> tuple[Path | None, list[str]]:
    """Find the newest checkpoint of a work dir that can be read.

    A kill while a checkpoint is written leaves it damaged; the one before it is whole.

    Args:
        work_dir: the folder of ``last_checkpoint`` and ``iter_*.pth`` or ``epoch_*.pth``.

    Returns:
        The file, or None if there is nothing to resume from, because there is no checkpoint at all or
        a kill in the first save left the only one damaged; and a line for the log about each damaged
        one that was passed over.

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
    """The last checkpoint as mmengine noted it, then the others, newest first.

    Before it come later ones, written after the note: the run was killed before it noted them. (Older
    files of later steps are those of another run.)
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
    """The file that ``last_checkpoint`` names, if it says one that is there."""
    last = note.read_text(errors='replace').strip() if note.is_file() else ''
    try:
        return Path(last) if last and Path(last).is_file() else None
    except (OSError, ValueError):  # damaged: no file can have such a name
        return None


# What a user changes between two runs, and mmengine's resuming sets back.
_OF_GROUPS = ('initial_lr', 'weight_decay')
_OF_SCHEDULERS = (
    *('begin', 'end', 'by_epoch', 'power', 'min_value', 'T_max', 'eta_min', 'eta_min_ratio'),
    *('gamma', 'milestones', 'step_size', 'start_factor', 'end_factor', 'periods', 'factor'),
    'monitor',
)


class ResumedSettingsHook(Hook):
    """Say which settings of a config a resumed training does not use: those of the checkpoint hold.

    mmengine loads the states of optimizer and schedulers, which carry their settings, too.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare, where a training is resumed and its parts are built, but not yet loaded."""
        if not runner._resume:
            return
        saved, own = checkpoint.get('param_schedulers'), _states(runner.param_schedulers)
        groups = getattr(getattr(runner.optim_wrapper, 'optimizer', None), 'param_groups', None)
        kept = [
            *_others('param_scheduler.', list(_states(saved)), list(own), _OF_SCHEDULERS),
            *_others('optimizer, parameter group ', _groups(checkpoint), groups or [], _OF_GROUPS),
        ]
        if kept:
            runner.logger.log(
                logging.WARNING,
                f'fan_mm: resumed with the settings in {runner._load_from}, not those of the config: '
                f'{few(kept)}{_other_epochs(runner, checkpoint)}; load_from instead takes the weights only',
            )


def _other_epochs(runner: Runner, checkpoint: Mapping) -> str:
    """Why lengths in steps differ where the config counts epochs; '' if epochs have as many steps as before."""
    told = (checkpoint.get('message_hub') or {}).get('runtime_info') or {}
    if not told.get('max_epochs') or type(runner.train_loop) is not EpochBasedTrainLoop:
        return ''
    before, now = told['max_iters'] // told['max_epochs'], runner.max_iters // runner.max_epochs
    if before == now:
        return ''
    return f' (epochs of {before} steps, now of {now}: other processes, batches or images)'


def _states(schedulers: Any) -> Iterator[Mapping]:
    """The states of schedulers, built or saved: a list, or a dict of lists for several optimizers."""
    if isinstance(schedulers, Mapping) and all(isinstance(v, list) for v in schedulers.values()):
        schedulers = [scheduler for several in schedulers.values() for scheduler in several]
    for scheduler in schedulers or ():
        yield scheduler if isinstance(scheduler, Mapping) else scheduler.state_dict()


def _groups(checkpoint: Mapping) -> list[Mapping]:
    state = checkpoint.get('optimizer')
    return list(state.get('param_groups') or ()) if isinstance(state, Mapping) else []


def _others(
    what: str, saved: list[Mapping], own: list[Mapping], keys: tuple[str, ...]
) -> Iterator[str]:
    """What is saved with other values than its own."""
    if saved and len(saved) != len(own):
        yield f'{what.strip("., ")}: {len(saved)} of them, not {len(own)}'
        return
    for index, (there, here) in enumerate(zip(saved, own, strict=False)):
        for key in keys:
            if key in there and key in here and there[key] != here[key]:
                yield f'{what}{index}: {key} is {_shown(there[key])}, not {_shown(here[key])}'


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f'{value:g}'
    return str(list(value) if isinstance(value, Mapping) else value)  # milestones, counted
