"""Checkpoints appear whole: a kill or a full disk while one is written leaves none under its name.

The same holds for the file of a test's metrics, which in mmengine all processes write at the same time.
"""

from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from fan_mm.fileio import whole_file

# Shared by all instances: mmengine removes with one and writes with another.
_superseded: set[Path] = set()


class WholeFileBackend(LocalBackend):
    """mmengine's backend for local disks that writes a temporary file and renames it.

    mmengine removes an obsolete checkpoint (``max_keep_ckpts``, the previous best) before it writes the new
    one; here it is kept until the new one is complete.
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
