"""Clean pictures of a config's training split, read as its test split is."""

from typing import Any

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from torch.utils.data import ConcatDataset, Dataset, Subset

from fan_mm.config_parts import datasets_of, scope_of
from fan_mm.engine.first_batch import one_line
from fan_mm.errors import InputError
from fan_mm.evaluation.samples import spread


def training_pictures(cfg: Config, count: int, test: dict | None = None) -> Dataset:
    """A dataset of some training pictures, evenly spread, with their labels.

    Whatever wraps the training datasets (repeats, mixes) and their own pipelines are left out.

    Args:
        cfg: with a train_dataloader and a test_dataloader; not changed.
        count: how many pictures; all of them where there are fewer.
        test: the loader's config whose pipeline reads them; test_dataloader by default.

    Raises:
        InputError: the config has no training split, or it cannot be read.
    """
    loader, option = cfg.get('train_dataloader'), '--fit-temperature'
    inner = [part for _, part in datasets_of('', (loader or {}).get('dataset'))]
    if not inner:
        raise InputError(f'{option}: the config has no train_dataloader with a dataset')
    test = test or cfg.test_dataloader
    pipeline = next(datasets_of('', test['dataset']))[1].get('pipeline')
    if not pipeline:
        raise InputError(f'{option}: test_dataloader.dataset has no pipeline to read pictures with')
    try:
        with DefaultScope.overwrite_default_scope(scope_of(cfg)):
            parts = [_built({**part, 'pipeline': pipeline}) for part in inner]
            whole = parts[0] if len(parts) == 1 else ConcatDataset(parts)
            return Subset(whole, spread(len(whole), count))
    except InputError:
        raise
    except Exception as error:  # whatever a dataset may raise
        raise InputError(
            f'{option}: the training split cannot be read: {one_line(error)}'
        ) from None


def _built(cfg: dict[str, Any]) -> Any:
    dataset = DATASETS.build(cfg)
    if hasattr(dataset, 'test_mode'):
        dataset.test_mode = True  # a picture that cannot be read is not replaced by another one
    return dataset
