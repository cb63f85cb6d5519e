"""The images of a config's training split, without what wraps, repeats and augments them."""

from typing import Any

from mmengine.registry import DATASETS, DefaultScope

from fan_mm.config_parts import datasets_of
from fan_mm.engine.config.building import used_so
from fan_mm.errors import InputError


def training_datasets(split: Any, pipeline: list, scope: str | None, wanted_by: str) -> list[Any]:
    """Build the datasets inside of a training split, with another pipeline.

    Args:
        split: the config's ``train_dataloader.dataset``; wrappers are replaced by the datasets inside.
        pipeline: pipeline to read the images with.
        scope: scope of the task library.
        wanted_by: the option that requires the images, for error messages.

    Raises:
        InputError: there is no training split, or it cannot be read.
    """
    inner = [part for _, part in datasets_of('', split)]
    if not inner:
        raise InputError(f'{wanted_by}: the config has no train_dataloader with a dataset')
    with (
        used_so(f'{wanted_by}: the training split cannot be read'),
        DefaultScope.overwrite_default_scope(scope),
    ):
        return [_built({**part, 'pipeline': pipeline}) for part in inner]


def _built(cfg: dict[str, Any]) -> Any:
    dataset = DATASETS.build(cfg)
    if hasattr(dataset, 'test_mode'):
        dataset.test_mode = True  # unreadable images are not replaced by others
    return dataset
