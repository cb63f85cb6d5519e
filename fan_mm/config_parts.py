"""Parts of third-party configs, in any form that OpenMMLab allows.

A type is a name, a scoped name or a class; an evaluator a metric, several, or a dict or an object that
holds them; a dataset may lie inside any wrappers.
"""

from collections.abc import Iterable, Iterator
from typing import Any

# models whose names only one library has
_MODELS = {
    'mmdet': ('CascadeRCNN', 'FasterRCNN', 'MaskRCNN', 'RetinaNet'),
    'mmpretrain': ('HuggingFaceClassifier', 'ImageClassifier', 'TimmClassifier'),
    'mmseg': ('CascadeEncoderDecoder', 'EncoderDecoder'),
}


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


def steps_of(pipeline: Any) -> Iterator[Any]:
    """The transforms of a pipeline, as configs or built, with those inside wrappers and alternatives."""
    if not isinstance(pipeline, list | tuple):
        return
    for step in pipeline:
        if isinstance(step, list | tuple):
            yield from steps_of(step)
            continue
        yield step
        # those inside Albu and Albumentations belong to another library
        if isinstance(step, dict) and not type_name(step).startswith('Albu'):
            yield from steps_of(step.get('transforms'))


def bare_model(model: Any) -> Any:
    """The config of a model without the test-time augmentation around it."""
    return model.get('module', model)


def parts_below(place: str, node: Any) -> Iterator[tuple[str, dict]]:
    """A part of a config and all dicts inside, in whatever lists and dicts, each with its place."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, dict):
        yield place, node
        items = node.items()
    elif isinstance(node, list | tuple):
        items = enumerate(node)
    for key, inner in items:
        yield from parts_below(f'{place}.{key}' if place else str(key), inner)


def scope_of(cfg: Any) -> str | None:
    """The library that a config is for: its default scope, else the one whose model it has, if it tells."""
    if cfg.get('default_scope'):
        return cfg['default_scope']
    model = cfg.get('model')
    kind = model.get('type') if isinstance(model, dict) else None
    root = (kind if isinstance(kind, str) else getattr(kind, '__module__', '')).partition('.')[0]
    return (
        root
        if root in _MODELS
        else next((s for s, names in _MODELS.items() if root in names), None)
    )


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
