"""The cells of a sweep, and their store: every finished cell is written to disk at once, atomically.

A store is a folder. ``sweep.json`` holds the identity, which must match for stored cells to be valid,
``cells/<corruption>_<severity>.json`` the record of one cell, and the ``.npz`` file next to it its
per-image statistics, if the metric provides them. The record is written last, so it never exists without
its statistics. Both contain the identity of their sweep including the name of its protocol, so that a
cell from another sweep is detected. The record also contains a hash, so that an edited cell is evaluated
again. Cells of earlier versions have neither and are accepted because of their folder.
"""

import contextlib
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fan_mm.corruptions import BENCHMARKS
from fan_mm.errors import InputError
from fan_mm.evaluation.consistency import seal, seal_of_arrays
from fan_mm.fileio import output_folder, remove_temporaries, whole_file, write_whole
from fan_mm.logs import warn

# What numpy raises for a damaged .npz file.
DAMAGED = (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)
COPIES = 'copies of '  # prefix of identity entries that concern one cell
METRIC = 'metric: '  # prefix of identity entries that are settings of the metric
PROTOCOL = 'protocol'  # identity entry: the name of a benchmark, or of a real condition
_IDENTITY = 'identity'  # key of the sweep's identity in the files of a cell
_ARRAYS, _SEAL = 'arrays', 'seal'  # in a record: hashes of its statistics file, and of the rest
_CELL = re.compile(r'[a-z_]+_[0-9]\.(json|npz)')
_PICTURE = re.compile(r'[0-9]{6,}_.+\.jpg')  # `fan_mm.evaluation.gallery.file_name`


class Cell(NamedTuple):
    """One corruption at one severity; ('clean', 0) stands for the clean images."""

    corruption: str
    severity: int

    def __str__(self) -> str:
        return f'{self.corruption}/{self.severity}' if self.severity else self.corruption


CLEAN = Cell('clean', 0)


@dataclass
class CellRecord:
    """The record of one cell.

    Attributes:
        corruption: name of the corruption, or 'clean'.
        severity: 1 to 5, 0 for clean.
        status: 'done', 'failed' or 'missing'.
        metrics: name -> value in per cent, None if undefined.
        per_class: name of a metric -> class -> per cent.
        samples: number of images evaluated.
        seconds: wall time.
        error: why the cell failed, one line.
        images: saved images: dicts with 'key' and file names relative to the work dir.
        evidence: observations for the audit, see `fan_mm.evaluation.audit.evidence.merged`.
    """

    corruption: str
    severity: int
    status: str
    metrics: dict[str, float | None] = field(default_factory=dict)
    per_class: dict[str, dict[str, float | None]] = field(default_factory=dict)
    samples: int = 0
    seconds: float = 0.0
    error: str | None = None
    images: list[dict[str, str]] = field(default_factory=list)
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def cell(self) -> Cell:
        """The cell this is about."""
        return Cell(self.corruption, self.severity)


def _differ(name: str, there: dict[str, str], now: dict[str, str]) -> bool:
    """Whether an entry of two identities differs such that their cells must not be mixed."""
    one, other = there.get(name), now.get(name)
    if name.startswith(COPIES) and None in (one, other):
        return False  # other cells
    if name.startswith(METRIC) and None in (one, other):
        return False  # from an earlier version
    if name == PROTOCOL and (None in (one, other) or {one, other} <= BENCHMARKS.keys()):
        return False  # from an earlier version; benchmarks can share cells if all else is the same
    return one != other


def _differing(there: dict[str, str], now: dict[str, str]) -> list[str]:
    return [name for name in {**there, **now} if _differ(name, there, now)]


def _leave_out(path: Path, why: str) -> None:
    warn(f'{path} {why}: the cell is evaluated again')


class CellStore:
    """The records of one sweep in a folder, or, without a folder, in memory."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._identity: dict[str, str] = {}
        self._records: dict[Cell, CellRecord] = {}
        self._origins: dict[Cell, dict[str, str]] = {}  # identities found in records
        self._seals: dict[Cell, str | None] = {}  # hashes of the statistics found in records
        self._statistics: dict[Cell, dict[str, np.ndarray]] = {}

    def open(self, identity: dict[str, str], overwrite: bool = False) -> None:
        """Start a sweep, or continue the one in the folder.

        Args:
            identity: everything that determines the numbers: 'config', 'checkpoint', 'dataset' and so
                on, each as a short text. A stored cell is valid only if all entries match.
            overwrite: discard all stored cells, also those of a sweep with another identity.

        Raises:
            InputError: the folder holds a sweep of another identity (the message says what differs),
                one whose identity cannot be read, or foreign files among the cells.
        """
        self._identity = identity
        if self.folder is None:
            return
        path, cells = self.folder / 'sweep.json', output_folder(self.folder / 'cells')
        for file in sorted(cells.iterdir()):
            if not file.name.startswith('.') and not _CELL.fullmatch(file.name):
                raise InputError(f'{file} is not a cell of a sweep: give another --work-dir')
        # What a killed sweep or report has left.
        images = (self.folder / 'images').glob('*_[0-9]')
        remove_temporaries(self.folder, cells, self.folder / 'figures', *images)
        if overwrite:
            path.unlink(missing_ok=True)
            self._remove_pictures()
        there = self._continue(path) if path.exists() else {}
        if not there:  # the cells may be those of another sweep
            self._remove_cells()
        # Keep the entries for copies of cells that are not requested now.
        self._identity = {**there, **identity}
        if self._identity != there:
            write_whole(path, json.dumps(self._identity, indent=2) + '\n')

    def _continue(self, path: Path) -> dict[str, str]:
        """Read the cells that count in this sweep; returns the folder's identity, {} if it has no such cells."""
        try:
            there = dict(json.loads(path.read_bytes()))
        except (ValueError, TypeError):
            raise InputError(
                f'{path} is damaged: give another --work-dir, or --overwrite to start over'
            ) from None
        if there.get('fingerprints') != self._identity.get('fingerprints'):
            raise InputError(
                f'{self.folder} holds a sweep started by another version of fan_mm: finish it '
                'with that version, give another --work-dir, or --overwrite to start over'
            )
        self._read()
        done = [cell for cell, record in self._records.items() if record.status == 'done']
        copies = {COPIES + str(cell) for cell in done}
        names = [
            name
            for name in _differing(there, self._identity)
            # The cause of a failed cell may have been fixed.
            if name in copies or not name.startswith(COPIES)
        ]
        if names and not done:  # nothing is lost, for example if a broken image was replaced
            return {}
        self._refuse(f'{self.folder} holds a sweep with', names, there)
        for cell in done:
            self._check_origin(cell)
            self._check_statistics(cell)
        return there

    def _refuse(self, what: str, names: Sequence[str], there: dict[str, str]) -> None:
        """Say which entries of another identity differ from this one's, if any do."""
        if not names:
            return
        differs = '; '.join(f'{n} was {there.get(n)}, is {self._identity.get(n)}' for n in names)
        raise InputError(
            f'{what} another {", ".join(names)} ({differs}): '
            'give another --work-dir, or --overwrite to start over'
        )

    def _check_origin(self, cell: Cell) -> None:
        """Check that a finished cell and its statistics belong to this sweep.

        Raises:
            InputError: one is of a sweep of another identity, whose files were put here.
        """
        files = {self._path(cell, '.json'): self._origins.get(cell)}
        # Damaged files are reported when they are read.
        with contextlib.suppress(InputError, TypeError), self._arrays(cell) as arrays:
            if _IDENTITY in arrays:
                files[self._path(cell, '.npz')] = dict(json.loads(str(arrays[_IDENTITY])))
        for path, origin in files.items():
            if origin is not None:
                self._refuse(
                    f'{path} is of a sweep with', _differing(origin, self._of(cell)), origin
                )

    def _check_statistics(self, cell: Cell) -> None:
        """Leave out a cell whose statistics are not those that were written with its record."""
        path, sealed = self._path(cell, '.npz'), self._seals[cell]
        if sealed is not None and sealed != seal_of_arrays(path):
            _leave_out(path, 'is not the file written together with its record')
            del self._records[cell]

    def _of(self, cell: Cell) -> dict[str, str]:
        """The entries of the identity that concern a cell."""
        own = COPIES + str(cell)
        return {n: t for n, t in self._identity.items() if n == own or not n.startswith(COPIES)}

    def reopen(self) -> None:
        """Read the folder again, now that no other run can write into it.

        Raises:
            InputError: another sweep has begun there since it was opened.
        """
        self._records.clear()
        self._origins.clear()
        self.open(self._identity)

    def check(self) -> None:
        """Check that the folder still holds this sweep, and every cell that is done.

        Raises:
            InputError: it was removed, or taken by another sweep, while this one ran.
        """
        if self.folder is None:
            return
        path = self.folder / 'sweep.json'
        try:
            same = json.loads(path.read_bytes()) == self._identity
        except (OSError, ValueError):
            same = False
        cells = self.folder / 'cells'
        there = set(os.listdir(cells)) if cells.is_dir() else ()
        lost = [str(c) for c in self._records if self._path(c, '.json').name not in there]
        if not same or lost:
            what = f'the cells {", ".join(lost)} of {self.folder}' if same else str(path)
            raise InputError(
                f'{what} were removed or changed while the sweep ran: none of it counts; run it again'
            )

    @property
    def protocol(self) -> str:
        """The name of the protocol."""
        return self._identity.get(PROTOCOL, '')

    @property
    def _there(self) -> Path:
        """The folder, where there is one."""
        assert self.folder is not None
        return self.folder

    def _remove_cells(self) -> None:
        """Remove the files of all cells."""
        cells = self._there / 'cells'
        for name in filter(_CELL.fullmatch, os.listdir(cells)):
            (cells / name).unlink()
        self._records.clear()

    def _remove_pictures(self) -> None:
        """Remove the images that `put_image` wrote, and nothing else that lies there."""
        images = self._there / 'images'
        for folder in images.glob('*_[0-9]'):
            for path in folder.iterdir():
                if _PICTURE.fullmatch(path.name):
                    path.unlink()
        for folder in (*images.glob('*_[0-9]'), images):
            with contextlib.suppress(OSError):  # not empty, or missing
                folder.rmdir()

    def _read(self) -> None:
        for path in sorted((self._there / 'cells').iterdir()):
            if _CELL.fullmatch(path.name) and path.suffix == '.json':
                try:
                    content = dict(json.loads(path.read_bytes()))
                    sealed = content.pop(_SEAL, None)  # absent in earlier versions
                    changed = sealed not in (None, seal(content))
                    arrays = content.pop(_ARRAYS, None)
                    origin = content.pop(_IDENTITY, None)
                    record = CellRecord(**content)
                except (ValueError, TypeError):
                    _leave_out(path, 'is damaged')
                    continue
                if path != self._path(record.cell, '.json'):
                    _leave_out(path, f'is of {record.cell}')
                elif changed:
                    _leave_out(path, 'was edited')
                else:
                    self._records[record.cell] = record
                    self._seals[record.cell] = arrays
                    if origin is not None:
                        self._origins[record.cell] = dict(origin)

    def _path(self, cell: Cell, suffix: str) -> Path:
        return self._there / 'cells' / f'{cell.corruption}_{cell.severity}{suffix}'

    def put(self, record: CellRecord, statistics: np.ndarray | None = None, **more: Any) -> None:
        """Store a cell; an earlier record of it is replaced.

        Args:
            record: the cell's record.
            statistics: per-image statistics, if the metric provides them.
            **more: further per-image statistics by name; None for none.

        Raises:
            InputError: see `check`.
        """
        self.check()
        self._records[record.cell] = record
        arrays = {'statistics': statistics, **more}
        arrays = {name: array for name, array in arrays.items() if array is not None}
        if self.folder is None:
            self._statistics[record.cell] = arrays
            return
        statistics_file = self._path(record.cell, '.npz')
        self._path(record.cell, '.json').unlink(missing_ok=True)
        content = {**asdict(record), _IDENTITY: self._of(record.cell)}
        if not arrays:
            statistics_file.unlink(missing_ok=True)
        else:
            arrays[_IDENTITY] = np.array(json.dumps(self._of(record.cell)))
            with whole_file(statistics_file) as aside:
                np.savez_compressed(aside, **arrays)
            content[_ARRAYS] = seal_of_arrays(statistics_file)
        text = json.dumps({**content, _SEAL: seal(content)}, indent=1, allow_nan=False)
        write_whole(self._path(record.cell, '.json'), text + '\n')

    def put_image(self, name: str, content: bytes) -> str:
        """Write an image; returns its file name relative to the folder."""
        write_whole(self._there / name, content)
        return name

    def get(self, cell: Cell) -> CellRecord:
        """The record of a cell; status 'missing' if there is none."""
        return self._records.get(cell) or CellRecord(*cell, status='missing')

    def statistics(self, cell: Cell, name: str = 'statistics') -> np.ndarray | None:
        """Statistics per image of a cell by their name, None if it has none.

        Raises:
            InputError: the file is damaged.
        """
        with self._arrays(cell) as arrays:
            return arrays.get(name)

    def all_statistics(
        self, cells: Sequence[Cell], name: str = 'statistics'
    ) -> 'StatisticsOfCells':
        """Statistics per image of the cells that have them, read when they are asked for."""
        return StatisticsOfCells(self, [cell for cell in cells if self._has(cell, name)], name)

    def _has(self, cell: Cell, name: str) -> bool:
        with self._arrays(cell) as arrays:
            return name in arrays

    @contextlib.contextmanager
    def _arrays(self, cell: Cell) -> Iterator[Mapping[str, np.ndarray]]:
        """The arrays of a cell by their names, each read when it is asked for."""
        path = self.folder and self._path(cell, '.npz')
        if path is None or not path.exists():
            yield self._statistics.get(cell, {})
            return
        try:
            with np.load(path, allow_pickle=False) as file:
                yield file
        except DAMAGED:
            record = path.with_suffix('.json').name
            raise InputError(
                f'{path} is damaged: remove {record} next to it, so that the cell is evaluated again'
            ) from None


class StatisticsOfCells(Mapping[Cell, np.ndarray]):
    """Per-image statistics of cells that have them, loaded one at a time, as all may take gigabytes."""

    def __init__(self, store: CellStore, cells: Sequence[Cell], name: str) -> None:
        self._store, self._cells, self._name = store, tuple(cells), name

    def __getitem__(self, cell: Cell) -> np.ndarray:
        if cell not in self._cells:
            raise KeyError(cell)
        found = self._store.statistics(cell, self._name)
        assert found is not None  # see `cells`
        return found

    def __contains__(self, cell: object) -> bool:
        return cell in self._cells

    def __iter__(self) -> Iterator[Cell]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)
