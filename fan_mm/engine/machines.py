"""What the machines of a run have in common: each may have disks of its own.

Every process reads config, data and weights itself. A stale copy on one machine, or a checkpoint that exists only on
the first one, would silently give wrong results or a wrong training.
"""

import contextlib
import hashlib
import os
import re
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import all_gather_object, broadcast_object_list, get_world_size, is_main_process

from fan_mm.engine.checks.files import evenly
from fan_mm.engine.evaluators import library_class
from fan_mm.engine.once_for_all import by_one_of_each_machine
from fan_mm.errors import InputError
from fan_mm.few_names import few_and_more
from fan_mm.logs import warn

_PER_PROCESS = ('work_dir', 'launcher')  # may contain the time
_LOOPS = ('train_cfg', 'val_cfg', 'test_cfg')
_SEEN = '.seen_by_all.'  # prefix of files that show whether machines share a folder
_LEFT = 3600  # seconds after which such a file is no longer in use
# Metrics of mmdet whose processes exchange files in a temporary folder.
_THROUGH_FILES = ('MOTChallengeMetric', 'CityScapesMetric')
_NAMES = 64  # images of a dataset, evenly spaced, whose names are compared (`evenly`)


def refuse_differences(what: str, value: Callable[[], str], remedy: str) -> None:
    """Refuse a run whose machines find different things. All processes call it.

    Args:
        what: start of the error message, a plural.
        value: returns a short text; called in the first process of each machine, if there are several.
        remedy: end of the error message.

    Raises:
        InputError: in every process: the machines differ, or ``value`` raises it on one.
    """
    local_rank = int(os.environ.get('LOCAL_RANK', 0))
    if sum(all_gather_object(local_rank == 0)) <= 1:
        return
    host = socket.gethostname()
    found: dict[str, str] = {}  # value -> the first machine that has it
    for line in by_one_of_each_machine(lambda: [f'{value()}\n{host}'], local_rank):
        text, _, place = line.rpartition('\n')
        found.setdefault(text, place)
    if len(found) > 1:
        said = few_and_more(f'{text} on {place}' for text, place in found.items())
        raise InputError(f'{what} differ between machines ({said}): {remedy}')


def refuse_other_images(name: str, loader: Any) -> None:
    """Refuse datasets of another length or order: processes share them by numbers. All processes call it.

    Raises:
        InputError: in every process: the machines' datasets differ.
    """
    dataset = getattr(loader, 'dataset', None)
    if hasattr(dataset, '__len__'):
        remedy = 'copy the same data to all of them, and list files in sorted order'
        refuse_differences(f'the images of {name}', lambda: _listing(dataset), remedy)


def _listing(dataset: Any) -> str:
    """How many images, and a short hash of the names of some, where the dataset tells them."""
    total = len(dataset)
    text = f'{total} images'
    with contextlib.suppress(Exception):  # a custom dataset, whose samples may be anything
        chosen = [dataset.get_data_info(i) for i in evenly(range(total), _NAMES)]
        names = '\0'.join(Path(info['img_path']).name for info in chosen)
        text += f' listed as {hashlib.sha256(os.fsencode(names)).hexdigest()[:8]}'
    return text


def say_other_configs(cfg: Config) -> list[str]:
    """Lines for the log about what differs between the configs of the processes. All of them call it.

    Raises:
        InputError: in every process: their loops differ, so they would wait for each other.
    """
    here = {path: text for path, text in _settings(cfg.to_dict()) if path not in _PER_PROCESS}
    configs = all_gather_object((socket.gethostname(), here))
    (first, reference), *others = configs
    for host, settings in others:
        paths = sorted(reference.keys() | settings.keys())
        if other := [path for path in paths if reference.get(path) != settings.get(path)]:
            line = (
                f'{host} has another config than {first} ({few_and_more(other)}): is it the same command, and '
                'the same version of the file?'
            )
            if any(path.startswith(_LOOPS) for path in other):
                raise InputError(line)
            return [line]
    return []


def share_seed(cfg: Config) -> None:
    """Give all processes the first one's seed. All of them call it.

    If only some have one, for example because only one machine has the checkpoint to resume from, the others
    would wait forever in mmengine's Runner, where processes without a seed agree on one.
    """
    randomness = cfg.get('randomness') or {}
    seed = [randomness.get('seed')]
    broadcast_object_list(seed)
    if randomness.get('seed') != seed[0]:
        cfg.randomness = dict(randomness, seed=seed[0])


def shared_by_all(folder: str | os.PathLike) -> bool:
    """Whether all processes see the same folder, not each machine one of its own. All of them call it.

    Args:
        folder: the folder, created if missing.
    """
    if get_world_size() == 1:
        return True
    folder = Path(folder)
    # A new name each time, as network file systems cache missing files (in the form of `whole_file`'s temporaries).
    name = [f'{_SEEN}{secrets.token_hex(6)}']
    broadcast_object_list(name)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if is_main_process():
            (folder / name[0]).touch()
    all_gather_object(None)  # rank 0 has written
    # Not Path.exists, which raises PermissionError, while the other processes would wait.
    shared = all(all_gather_object(os.path.exists(folder / name[0])))
    if is_main_process():
        _remove(folder, name[0])
    return shared


def _remove(folder: Path, name: str) -> None:
    """Remove the file by which machines saw whether they share a folder, and what a kill has left of others."""
    with contextlib.suppress(OSError):
        (folder / name).unlink(missing_ok=True)
        for file in folder.glob(f'{_SEEN}*'):
            if time.time() - file.stat().st_mtime > _LEFT:
                file.unlink(missing_ok=True)


def refuse_own_temporaries(evaluator: Any) -> None:
    """Refuse metrics whose processes exchange files where machines have a temporary folder each.

    Must be called in all processes.

    Args:
        evaluator: evaluator of a loop, or another one.

    Raises:
        InputError: in every process: there is such a metric.
    """
    metrics = [m for m in getattr(evaluator, 'metrics', ()) if getattr(m, 'tmp_dir', None)]
    names = [type(m).__name__ for m in metrics if library_class(m, _THROUGH_FILES)]
    if not names:
        return
    folder = [tempfile.gettempdir()]
    broadcast_object_list(folder)
    if not shared_by_all(folder[0]):
        raise InputError(
            f'{names[0]} exchanges files in {folder[0]}, which the machines do not share: set TMPDIR to a folder that '
            'all of them have, or use one machine'
        )


def collect_without_disk(evaluator: Any) -> None:
    """Let metrics collect through the process group where mmengine's folder for it is not shared.

    That folder is below the current folder; without it, the first validation would fail after hours of training.
    Must be called in all processes.

    Args:
        evaluator: evaluator of a loop; not changed if it has no metrics.

    Raises:
        InputError: in every process: a metric needs a folder that the machines do not share.
    """
    refuse_own_temporaries(evaluator)
    metrics = [m for m in getattr(evaluator, 'metrics', ()) if _collects_in_current_folder(m)]
    if not metrics or shared_by_all('.'):
        return
    for metric in metrics:
        if library_class(metric, ['BaseVideoMetric']):  # mmdet's trackers have no alternative
            raise InputError(
                f'{type(metric).__name__} collects results below the current folder, which the machines do not '
                'share: start in a folder that all of them have, or use one machine'
            )
    for metric in metrics:
        metric.collect_device = 'gpu'  # uses the process group, also without a GPU
    warn(
        'fan_mm: the machines do not share the current folder, or cannot write there: metrics collect results through '
        "the process group (collect_device='gpu')"
    )


def _collects_in_current_folder(metric: Any) -> bool:
    return getattr(metric, 'collect_device', None) == 'cpu' and metric.collect_dir is None


def _settings(part: Any, path: str = '') -> Iterator[tuple[str, str]]:
    """The single values of a config, in a form that is equal in all processes where they are."""
    if isinstance(part, Mapping):
        inner = [(f'{path}.{name}' if path else str(name), value) for name, value in part.items()]
    elif isinstance(part, list | tuple):
        inner = [(f'{path}.{number}', value) for number, value in enumerate(part)]
    elif isinstance(part, set | frozenset):  # their order differs between processes
        yield path, str(sorted(map(repr, part)))
        return
    else:
        yield path, re.sub(r' at 0x[0-9a-fA-F]+', '', repr(part))
        return
    for name, value in inner:
        yield from _settings(value, name)
