"""Checkpoints appear whole: a kill or a full disk while one is written leaves none under its name.

So does the file of a test's metrics, which mmengine has every process write at once.
"""

from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from fan_mm.fileio import whole_file

_superseded: set[Path] = (
    set()
)  # of all instances: mmengine removes with one and writes with another


class WholeFileBackend(LocalBackend):
    """mmengine's files on local disks, written aside and renamed.

    A checkpoint that another one replaces (``max_keep_ckpts``, the best one) is removed by mmengine
    before the new one is written; here it stays until that is whole.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes to a file, in one step."""
        with whole_file(filepath) as aside:
            aside.write_bytes(obj)
        if Path(filepath).suffix == '.pth':
            for old in _superseded - {Path(filepath)}:
                old.unlink(missing_ok=True)
            _superseded.clear()

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text to a file, in one step."""
        with whole_file(filepath) as aside:
            aside.write_text(obj, encoding)

    def remove(self, filepath: str | Path) -> None:
        """Remove a file: a checkpoint when the next one is there, any other one at once."""
        if Path(filepath).suffix == '.pth':
            _superseded.add(Path(filepath))
        else:
            super().remove(filepath)


def use_whole_files() -> None:
    """Let mmengine's hooks write through `WholeFileBackend` in this process from now on."""
    register_backend('local', WholeFileBackend, force=True, prefixes='')
