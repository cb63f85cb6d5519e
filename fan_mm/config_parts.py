"""Parts of a config that somebody else wrote, in whatever form OpenMMLab lets them have.

A type is a name, a scoped name or a class; an evaluator a metric, several, or a dict or an object that
holds them; a dataset may lie inside any wrappers.
"""

from collections.abc import Iterator
from typing import Any


def type_name(cfg: Any) -> str:
    """The class name of what a config builds, whatever form its type has; '' without one."""
    kind = (cfg.get('type') if isinstance(cfg, dict) else None) or ''
    return kind.rpartition('.')[2] if isinstance(kind, str) else getattr(kind, '__name__', '')


def metrics_of(evaluator: Any) -> list:
    """The metrics of an evaluator's config: their own configs, or objects where they are built already.

    Args:
        evaluator: ``None``, a metric's config, a list of them, mmengine's ``dict(metrics=...)`` with or
            without a type, or an evaluator or metric that is built.
    """
    if evaluator is None or evaluator == {}:
        return []
    if isinstance(evaluator, list | tuple):
        return [metric for part in evaluator for metric in metrics_of(part)]
    if isinstance(evaluator, dict):
        return metrics_of(evaluator['metrics']) if 'metrics' in evaluator else [evaluator]
    inside = getattr(evaluator, 'metrics', None)
    # CocoMetric has `metrics`, too: the names of its scores
    if isinstance(inside, list) and inside and not isinstance(inside[0], str):
        return list(inside)
    return [evaluator]


def datasets_of(place: str, dataset: Any) -> Iterator[tuple[str, dict]]:
    """The configs of the datasets inside any wrappers, each with its place in the config."""
    if not isinstance(dataset, dict):
        return
    if 'dataset' in dataset:
        yield from datasets_of(f'{place}.dataset', dataset['dataset'])
    elif 'datasets' in dataset:
        for index, inner in enumerate(dataset['datasets']):
            yield from datasets_of(f'{place}.datasets.{index}', inner)
    else:
        yield place, dataset
