"""What a sweep does for its audit: it watches each cell, and logs findings after the clean one."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.evaluator import Evaluator
from torch import nn

from fan_mm.evaluation.audit import Facts, audit, in_words
from fan_mm.evaluation.audit.crops import cropped_twice
from fan_mm.evaluation.audit.evidence import Seen, merged
from fan_mm.evaluation.audit.watch import Watch
from fan_mm.evaluation.cell_dataset import metainfo_of
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.scores import ignored_label
from fan_mm.logs import warn


class Auditor:
    """Watches the cells of a sweep: its model, evaluator, clean dataset, and the paths and classes evaluated."""

    def __init__(
        self,
        model: nn.Module,
        evaluator: Evaluator,
        dataset: Any,
        paths: Sequence[str],
        classes: Sequence[Any],
    ) -> None:
        self.model = model
        self.dataset = dataset
        self.paths = paths
        self.classes = classes
        self.ignored = ignored_label(evaluator)
        metainfo = metainfo_of(dataset)
        label_map = metainfo.get('label_map') if isinstance(metainfo, Mapping) else None
        # mmseg's label_map, used if metainfo.classes selects classes
        self.leaves_out = self.ignored in (label_map or {}).values()

    def watch(self, cell: Cell) -> Watch:
        """Start watching a cell, on each rank."""
        return Watch(self.model, cell == CLEAN, self.ignored)

    def evidence(self, cell: Cell, parts: Sequence[Seen | None]) -> dict[str, Any]:
        """What all ranks saw of a cell, for its record."""
        found = merged(parts, len(self.classes) or None)
        if 'ignored' in found and self.leaves_out:  # classes are ignored on purpose
            found |= {'labels': found['labels'] - found['ignored'], 'ignored': 0}
        if cell == CLEAN and (crop := cropped_twice(self.dataset, self.paths, len(self.classes))):
            found['cropped_twice'] = crop
        return found

    def say(self, facts: Facts) -> None:
        """Log what is found in the clean cell, before hours are spent on the others."""
        for finding in audit(facts)['findings']:
            text = f'audit, {finding["check"]}: {in_words(finding)}'
            warn(text)
