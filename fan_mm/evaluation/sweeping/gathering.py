"""What all processes found of a cell, brought to rank 0, in the order of the samples."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import collect_results, get_dist_info
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from fan_mm.engine.machines import refuse_own_temporaries, shared_by_all
from fan_mm.evaluation.audit.evidence import Seen


@dataclass
class RankPart:
    """What one process found of a cell.

    Attributes:
        error: that ended it, one line; None where none did.
        lasting: whether the error would be the same at another try: a sample that cannot be loaded.
        positions: of its samples in the sweep, as they were processed.
        results: per collecting metric what it collected.
        pictures: position -> image -> JPEG file.
        seen: for the audit.
        seconds: wall time.
    """

    error: str | None = None
    lasting: bool = False
    positions: list[int] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)
    pictures: dict[int, dict[str, bytes]] = field(default_factory=dict)
    seen: Seen | None = None
    seconds: float = 0.0


class Gathering:
    """Brings the parts of a cell to rank 0, in the way that the evaluator's first metric asks for.

    Machines that do not share the folder of that way send their parts through the process group.

    Args:
        evaluator: of the sweep.
        work_dir: of the sweep; a folder in it serves where the metric names none.

    Raises:
        InputError: machines do not share a folder through which a metric exchanges files.
    """

    def __init__(self, evaluator: Evaluator, work_dir: Path | None) -> None:
        refuse_own_temporaries(evaluator)
        self._evaluator = evaluator
        self._work_dir = work_dir
        self._folder = work_dir and work_dir / '.collect'
        self._shared: bool | None = None  # whether all processes see the folder
        self._times = 0

    def gather(self, part: RankPart) -> list[RankPart] | None:
        """All processes' parts on rank 0, None elsewhere.

        mmengine's own `collect_results` of metrics interleaves samples one by one, which fits another
        way of dealing them, and leaves the other ranks waiting if rank 0 fails between.
        """
        metric = self._evaluator.metrics[0]
        device, folder = metric.collect_device, metric.collect_dir
        if folder is None and device == 'cpu':
            if self._shared is None:
                self._shared = shared_by_all(self._work_dir or '.')
            if not self._shared:
                device = 'gpu'  # mmengine's name for the process group
            elif self._folder:
                # A new name each time: network file systems remember for a while what was removed.
                self._times += 1
                folder = str(self._folder / str(self._times))
        return collect_results([part], get_dist_info()[1], device, folder)

    def tidy(self) -> None:
        """Remove temporary files from the work dir, also those that a killed run left."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def in_order(parts: Sequence[RankPart]) -> list[Any]:
    """What each metric collected on all ranks, in the order of the samples.

    A metric that does not keep one entry per sample gets its entries rank after rank.
    """
    if len(parts) == 1:  # whatever it is that a metric collects in
        return parts[0].results
    ordered = []
    for results in zip(*(part.results for part in parts), strict=True):
        pairs = [(part.positions, r) for part, r in zip(parts, results, strict=True)]
        if all(len(positions) == len(r) for positions, r in pairs):
            found = [pair for positions, r in pairs for pair in zip(positions, r, strict=True)]
            ordered.append([result for _, result in sorted(found, key=lambda pair: pair[0])])
        else:
            ordered.append([result for _, r in pairs for result in r])
    return ordered


def to_cpu(value: Any) -> Any:
    """What a metric collected, with tensors on the CPU."""
    if isinstance(value, torch.Tensor):
        value = value.to('cpu')
        # A row of a batch would be sent to rank 0 with the storage of the whole batch.
        return value.clone() if value.untyped_storage().nbytes() > value.nbytes else value
    if isinstance(value, BaseDataElement):
        return value.to('cpu')
    if isinstance(value, tuple) and hasattr(value, '_fields'):  # of names
        return type(value)(*(to_cpu(v) for v in value))
    if isinstance(value, list | tuple):
        return type(value)(to_cpu(v) for v in value)
    if isinstance(value, dict):
        return {key: to_cpu(v) for key, v in value.items()}
    return value
