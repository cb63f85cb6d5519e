"""Findings of the audit of a sweep, and the facts on which they are based."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fan_mm.evaluation.bootstrap import PerImage
from fan_mm.evaluation.cells import CLEAN, Cell, CellRecord
from fan_mm.few_names import few_and_more


@dataclass(frozen=True)
class Finding:
    """Something that a careful reader of the results would ask about.

    Attributes:
        check: name of the check.
        cells: names of the cells concerned; empty if it concerns all.
        evidence: what was observed, a sentence with numbers.
        reason: the most likely reason, as the end of 'most likely ...'.
        advice: what to do, a sentence.
    """

    check: str
    cells: tuple[str, ...]
    evidence: str
    reason: str
    advice: str

    def entry(self) -> dict[str, Any]:
        """The entry of results.json."""
        return asdict(self) | {'cells': list(self.cells)}


def in_words(finding: Mapping[str, Any]) -> str:
    """The entry of a finding as sentences."""
    return f'{finding["evidence"]}; most likely {finding["reason"]}. {finding["advice"]}'


@dataclass(frozen=True)
class Facts:
    """Input of the checks.

    Attributes:
        records: records of all cells, the clean one first, including missing and failed ones.
        task: 'segmentation', 'detection', 'classification' or the name of another task.
        headline: name of the score that is averaged.
        classes: class names; empty if unknown.
        per_image: statistics for intervals, if the metric provides them.
        copies: cell -> fingerprint of the corrupted files, and of the clean files.
        colours: result of `fan_mm.evaluation.audit.colours`, if requested.
    """

    records: Sequence[CellRecord]
    task: str
    headline: str
    classes: Sequence[str] = ()
    per_image: PerImage | None = None
    copies: Mapping[str, str] = field(default_factory=dict)
    colours: Mapping[str, Any] | None = None

    @property
    def done(self) -> list[CellRecord]:
        """The cells with a result."""
        return [record for record in self.records if record.status == 'done']

    @property
    def named(self) -> dict[str, CellRecord]:
        """The cells with a result, by their names."""
        return {str(record.cell): record for record in self.done}

    @property
    def clean(self) -> CellRecord | None:
        """The clean cell, if it is done."""
        return next((record for record in self.done if record.cell == CLEAN), None)

    @property
    def seen_clean(self) -> dict[str, Any]:
        """What was seen in the clean cell."""
        return self.clean.evidence if self.clean else {}

    @property
    def corrupted(self) -> list[CellRecord]:
        """The corrupted cells with a result."""
        return [record for record in self.done if record.cell != CLEAN]

    def score(self, record: CellRecord) -> float | None:
        """The headline of a cell."""
        return record.metrics.get(self.headline)

    def name(self, number: int) -> str:
        """A class by its name, in quotation marks."""
        return repr(str(self.classes[number])) if number < len(self.classes) else f'class {number}'


def names_of(cells: Sequence[Cell | CellRecord]) -> tuple[str, ...]:
    """Names of cells, for a finding."""
    return tuple(str(c.cell if isinstance(c, CellRecord) else c) for c in cells)


def some(names: Iterable[str]) -> str:
    """Names in a sentence; only the first ones if there are many."""
    return few_and_more(names, 4)
