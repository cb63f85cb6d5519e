"""What the tables of sweeps and of real conditions have in common: model, metric, where results are from."""

from collections.abc import Mapping
from typing import Any

from fan_mm.evaluation.results import protocol_of
from fan_mm.report.labels import metric_label, number


class ResultsTable:
    """Read access to one results dict.

    Args:
        results: the content of ``results.json``.
        name: of the model, in place of the one in the results.

    Attributes:
        parts: what results are made of, in a word.
    """

    parts: str

    def __init__(self, results: dict, name: str | None = None) -> None:
        self.results = results
        self.name: str = name or results['model']['name']
        self.metric: str = results['metric']['name']

    @property
    def protocol(self) -> str:
        """The name of the protocol, as the files carry it."""
        return protocol_of(self.results)['name']

    @property
    def metric_label(self) -> str:
        """The metric as printed, such as 'box mAP'."""
        return metric_label(self.metric)

    @property
    def in_per_cent(self) -> bool:
        """Whether scores are; those of a metric that is not known are as it returned them."""
        return self.results['metric'].get('unit', '%') == '%'

    @property
    def unit_label(self) -> str:
        """The metric's unit behind its name: ' (%)', or nothing where it is not known."""
        return ' (%)' if self.in_per_cent else ''

    @property
    def unit_told(self) -> str:
        """A sentence on the unit of all numbers."""
        if self.in_per_cent:
            return 'All numbers in per cent.'
        return f'{self.metric_label} as the metric returned it, in a unit that is not known.'

    @property
    def digits(self) -> int:
        """Printed of a score: of a metric that is not known enough for shares of 1."""
        return 1 if self.in_per_cent else 3

    def lacking(self) -> list[tuple[str, str, str]]:
        """What has no result: of what kind, which, and the error if there was one."""
        raise NotImplementedError

    def text(self, value: float | None) -> str:
        """A score as printed."""
        return number(value, self.digits)

    @property
    def level(self) -> float | None:
        """Confidence level of the intervals, None if there are none."""
        bootstrap = self.results['bootstrap']
        return bootstrap['level'] if bootstrap else None

    @property
    def interval_label(self) -> str:
        """The heading of a column of intervals: '95 % interval'."""
        return f'{100 * self.level:.0f} % interval' if self.level else 'interval'

    def _identified(self, measured: Mapping[str, Any]) -> dict[str, str]:
        """Printable pairs of what was measured, between those of the model and of the environment."""
        r, model = self.results, self.results['model']
        pairs = {
            'created': r['created'],
            'fan_mm': r['fan_mm'],
            'protocol': self.protocol,
            'config': model['config'],
            'config SHA-256': model['config_sha256'],
            'checkpoint': model['checkpoint'],
            'checkpoint SHA-256': model['checkpoint_sha256'],
            **measured,
            **r['environment'],
        }
        return {name: str(value) for name, value in pairs.items() if value is not None}
