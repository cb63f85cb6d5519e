"""The results of all processes in a cell, collected on rank 0 in the order of the samples."""

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
    """The results of one process in a cell.

    Attributes:
        error: the error that ended the cell, one line; None if there was none.
        lasting: whether retrying is useless, for example because a sample cannot be loaded.
        positions: positions of its samples in the sweep, in the order of processing.
        results: for every collecting metric, what it collected.
        pictures: position -> image -> JPEG file.
        seen: observations for the audit.
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
    """Collects the parts of a cell on rank 0, using the collect_device of the evaluator's first metric.

    If the machines do not share the folder for collection via files, the process group is used instead.

    Args:
        evaluator: the sweep's evaluator.
        work_dir: the sweep's work dir; a folder in it is used if the metric has no collect_dir.

    Raises:
        InputError: machines do not share a folder through which a metric exchanges files.
    """

    def __init__(self, evaluator: Evaluator, work_dir: Path | None) -> None:
        refuse_own_temporaries(evaluator)
        self._evaluator = evaluator
        self._work_dir = work_dir
        self._folder = work_dir and work_dir / '.collect'
        self._shared: bool | None = None  # whether all processes share the folder
        self._times = 0

    def gather(self, part: RankPart) -> list[RankPart] | None:
        """All processes' parts on rank 0, None elsewhere.

        mmengine's own `collect_results` is not used: it interleaves single samples, which does not fit
        the distribution by batches, and makes the other ranks wait forever if rank 0 fails.
        """
        metric = self._evaluator.metrics[0]
        device, folder = metric.collect_device, metric.collect_dir
        if folder is None and device == 'cpu':
            if self._shared is None:
                self._shared = shared_by_all(self._work_dir or '.')
            if not self._shared:
                device = 'gpu'  # mmengine's name for the process group
            elif self._folder:
                # A new name each time, because network file systems cache removed folders for a while.
                self._times += 1
                folder = str(self._folder / str(self._times))
        return collect_results([part], get_dist_info()[1], device, folder)

    def tidy(self) -> None:
        """Remove temporary files from the work dir, also those that a killed run left."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def in_order(parts: Sequence[RankPart]) -> list[Any]:
    """What each metric collected on all ranks, in the order of the samples.

    The entries of metrics that do not store one entry per sample are concatenated in rank order.
    """
    if len(parts) == 1:  # the metric's own container, of any type
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
        # A view of one sample would be pickled with the storage of the whole batch.
        return value.clone() if value.untyped_storage().nbytes() > value.nbytes else value
    if isinstance(value, BaseDataElement):
        return value.to('cpu')
    if isinstance(value, tuple) and hasattr(value, '_fields'):  # a named tuple
        return type(value)(*(to_cpu(v) for v in value))
    if isinstance(value, list | tuple):
        return type(value)(to_cpu(v) for v in value)
    if isinstance(value, dict):
        return {key: to_cpu(v) for key, v in value.items()}
    return value
