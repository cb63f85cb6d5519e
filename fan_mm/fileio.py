"""Files appear whole or not at all: written aside in the same folder, then renamed.

And no two runs write into one folder at the same time.
"""

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from fan_mm.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_held: set[int] = set()  # descriptors of locked folders and files
_STEM, _SUFFIX = 160, 32  # bytes of a temporary name
# Errors of places where no files can be made at all.
_NO_PLACE = (errno.ENOENT, errno.ELOOP, errno.EINVAL, errno.ENOTSUP)


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it onto ``path`` if the block succeeds.

    The temporary name keeps the suffix (writers such as OpenCV choose the format by it) and starts
    with a dot, so that a reader listing the folder never takes it for data. After an exception, or
    a kill, ``path`` is what it was before. The temporary file is locked meanwhile, by which
    `remove_temporaries` knows it from what a kill has left.

    Args:
        path: where the finished file shall be; parent folders are made.

    Raises:
        InputError: there is no place for files (`output_folder`).
        IsADirectoryError: a folder has that name; before anything is written.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    output_folder(path.parent)
    # A name may have 255 bytes, with what we put around it too.
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= _SUFFIX else ''
    aside = path.with_name(f'.{shortened(path.stem, _STEM)}.{secrets.token_hex(6)}{suffix}')
    try:
        with _locked(aside, path):
            yield aside
        aside.replace(path)
    except BaseException as error:
        aside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(aside)):
            error.filename = str(path)  # what a full disk has no room for
        raise


def output_folder(path: str | os.PathLike) -> Path:
    """Make a folder that the user named for output, with those above it, or find it there.

    Raises:
        InputError: it cannot be made where it shall be: a file has its name, or that of a folder above; below
            ``/proc``, in a working folder that was removed, behind links in a circle. What a disk or
            permissions refuse stays an `OSError`, which `fan_mm.cli.run` says in one line.
    """
    path = Path(path)
    with _placed(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            check_folder(path)
            raise
    return path


def check_folder(path: str | os.PathLike) -> None:
    """Find out, without making it, whether `output_folder` can make a folder and files can be made in it.

    Raises:
        InputError: something else has its name, or that of a folder above; it may not be written; the working
            folder was removed.
    """
    with _placed(Path(path)):  # the working folder may be gone
        whole = Path(os.path.abspath(path))
    place = next(place for place in (whole, *whole.parents) if os.path.lexists(place))
    if not place.is_dir():
        raise InputError(f'{place} is not a folder; choose another path')
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f'{place} is not writable; choose another path')


def check_file(path: str | os.PathLike) -> None:
    """Find out, without making it, whether `whole_file` can make a file.

    Raises:
        InputError: a folder or a device has its name; its folder cannot be made or written (`check_folder`).
    """
    if os.path.exists(path) and not os.path.isfile(path):
        kind = 'a folder' if os.path.isdir(path) else 'a device'
        raise InputError(f'{path} is {kind}, not a file; choose another path')
    check_folder(Path(path).parent)


@contextlib.contextmanager
def _placed(path: Path) -> Iterator[None]:
    """Say which place has no room for new files; the system reports it as missing."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_PLACE:
            raise
        raise InputError(f'{path}: it is not writable; choose another path') from None


@contextlib.contextmanager
def _locked(path: Path, wanted: Path) -> Iterator[None]:
    """Make an empty file and hold a lock on it; without a lock where that cannot be."""
    if fcntl is None:
        yield
        return
    with _placed(wanted):
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    _held.add(file)
    try:
        with contextlib.suppress(OSError):  # some network file systems
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        _release(file)


def remove_temporaries(*folders: str | os.PathLike) -> None:
    """Remove the temporary files that killed runs left in some folders, and not below them.

    What a run is writing at this moment stays, where files can be locked. A folder need not be there.
    """
    for folder in folders:
        try:
            left = [
                entry.path for entry in os.scandir(os.fspath(folder)) if is_temporary(entry.name)
            ]
        except OSError:  # no such folder, or none that may be read
            continue
        for path in left:
            with contextlib.suppress(OSError):  # another process removed it, or is writing it
                if not is_held(path):
                    os.unlink(path)


def is_held(path: str | os.PathLike) -> bool:
    """Whether a process holds a file of `whole_file`, or a folder of `alone_in`, at this moment.

    Raises:
        OSError: there is no such file, or it cannot be locked there (some network file systems).
    """
    if fcntl is None:
        return False
    file = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def shortened(name: str, limit: int) -> str:
    """A file name, or the beginning of it that has at most ``limit`` bytes."""
    while len(os.fsencode(name)) > limit:
        name = name[:-1]
    return name


def write_whole(path: str | os.PathLike, content: str | bytes) -> None:
    r"""Write text or bytes to ``path`` in one step (see `whole_file`).

    Text becomes UTF-8; the bytes of a file name that is none are written as ``\udcff``.
    """
    data = content.encode(errors='backslashreplace') if isinstance(content, str) else content
    with whole_file(path) as aside:
        aside.write_bytes(data)


def printable(name: str | os.PathLike) -> str:
    r"""A file's name on one line, with what cannot be seen in it as ``\n``, ``\ufeff``, or ``\udcff`` (no UTF-8)."""
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in str(name))


@contextlib.contextmanager
def alone_in(folder: str | os.PathLike) -> Iterator[None]:
    """Let no second run write into a folder at the same time. A kill ends this, too.

    Raises:
        InputError: another run does.
    """
    if fcntl is None:
        yield
        return
    lock = os.open(folder, os.O_RDONLY)
    _held.add(lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _release(lock)
        raise InputError(f'another run is writing to {folder}') from None
    except OSError:
        pass  # some network file systems cannot lock a folder
    try:
        yield
    finally:
        _release(lock)


def _release(lock: int) -> None:
    if lock in _held:  # not in a forked process, which has closed it
        _held.remove(lock)
        os.close(lock)


def _release_all() -> None:
    for lock in tuple(_held):
        _release(lock)


if fcntl is not None:
    # Otherwise loader workers, which outlive a killed parent by seconds, would hold the lock.
    os.register_at_fork(after_in_child=_release_all)


def is_temporary(name: str) -> bool:
    """Whether a file of this name is a leftover of `whole_file` in a killed process."""
    return re.fullmatch(r'\..+\.[0-9a-f]{12}(\.[^.]+)?', name, re.DOTALL) is not None
