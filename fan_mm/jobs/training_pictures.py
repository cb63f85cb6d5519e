"""Clean images of a config's training split, read as its test split is."""

from mmengine.config import Config
from torch.utils.data import ConcatDataset, Dataset, Subset

from fan_mm.config_parts import datasets_of, scope_of
from fan_mm.engine.training_split import training_datasets
from fan_mm.errors import InputError
from fan_mm.evaluation.loading.pictures import refuse_cut_pictures
from fan_mm.evaluation.samples import spread


def training_pictures(cfg: Config, count: int, test: dict | None = None) -> Dataset:
    """A dataset of some training images, evenly spaced, with their labels.

    Whatever wraps the training datasets (repeats, mixes) and their own pipelines are left out.

    Args:
        cfg: with a train_dataloader and a test_dataloader; not changed.
        count: how many images; all of them where there are fewer.
        test: the loader's config whose pipeline reads them; test_dataloader by default.

    Raises:
        InputError: the config has no training split, or it cannot be read.
    """
    test, option = test or cfg.test_dataloader, '--fit-temperature'
    pipeline = next(datasets_of('', test['dataset']))[1].get('pipeline')
    if not pipeline:
        raise InputError(f'{option}: test_dataloader.dataset has no pipeline to read images')
    split = (cfg.get('train_dataloader') or {}).get('dataset')
    parts = training_datasets(split, pipeline, scope_of(cfg), option)
    for part in parts:
        refuse_cut_pictures(part)
    whole = parts[0] if len(parts) == 1 else ConcatDataset(parts)
    return Subset(whole, spread(len(whole), count))
