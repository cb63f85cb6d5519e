"""A model with its weights, ready to predict for one image."""

import re
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.registry import DATASETS, MODELS, DefaultScope

from fan_mm.config_parts import bare_model, datasets_of, scope_of, type_name
from fan_mm.engine.checks.class_orders import metainfo_in
from fan_mm.engine.checks.datasets import (
    build_lazily,
    check_dataset,
    check_names,
    check_steps,
    classes_of,
)
from fan_mm.engine.classification_checks import class_folders, number_of_classes, other_positions
from fan_mm.engine.config.building import building, used_so
from fan_mm.engine.config.old import refuse_old_config
from fan_mm.engine.config.registered import registered
from fan_mm.engine.onnx_file import read_checkpoint
from fan_mm.engine.runtime import prepare_runtime
from fan_mm.engine.weights import load_weights
from fan_mm.errors import InputError

TASKS = {'mmseg': 'segmentation', 'mmdet': 'detection', 'mmpretrain': 'classification'}


class Predictor:
    """A model of any task library with its weights.

    Args:
        cfg: a config for mmseg, mmdet or mmpretrain; modified in place.
        checkpoint: path or http(s) URL of the weights, or a file exported by ``tools/export.py``.

    Attributes:
        model: in eval mode, on the GPU if there is one.
        dataset_cfg: the config of the test split, None if the config has none.
        task: 'segmentation', 'detection' or 'classification'.
        metainfo: 'classes', and 'palette' if known, from the checkpoint, or else from the dataset, including
            the names of its class folders.

    Raises:
        InputError: a mistake in the config, or a checkpoint that does not fit it.
    """

    def __init__(self, cfg: Config, checkpoint: str) -> None:
        refuse_old_config(cfg)
        self.scope = scope_of(cfg)
        task = TASKS.get(self.scope or '')
        if task is None:
            raise InputError(
                f"the config's default_scope is {self.scope!r}: predictions are made for "
                f'{", ".join(TASKS)}'
            )
        self.task = task
        content = read_checkpoint(checkpoint)
        loader = cfg.get('test_dataloader')
        self.dataset_cfg = loader.get('dataset') if isinstance(loader, dict) else None
        drop_data(cfg)
        prepare_runtime(cfg)
        if cfg.get('data_preprocessor'):  # not in the model in mmpretrain's configs
            cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
        with building(cfg), DefaultScope.overwrite_default_scope(self.scope):
            self.model = MODELS.build(cfg.model)
        load_weights(self.model, content, checkpoint)
        self.model.to(get_device()).eval()
        self.metainfo = metainfo_in(content) or self._dataset_metainfo()
        classes = self.metainfo.get('classes') or self._folders(cfg.model)
        self.metainfo['classes'] = classes
        if not classes and self.scope != 'mmpretrain':
            raise InputError('neither the checkpoint nor the dataset has class names')

    def _dataset_metainfo(self) -> dict:
        """The metainfo of the test split, with 'classes' read from their file; of an unknown type, its config's."""
        dataset = _innermost(self.dataset_cfg)
        if dataset is None:
            return {}
        place, given = 'test_dataloader.dataset', dataset.get('metainfo') or {}
        try:
            with DefaultScope.overwrite_default_scope(self.scope):
                own = getattr(registered(DATASETS, place, dataset), 'METAINFO', {})
                classes = classes_of(place, dataset)
        except InputError:
            # its library may be missing, like the data
            return {} if isinstance(given.get('classes'), str) else dict(given)
        return {**own, **given, 'classes': classes}

    def _folders(self, model: dict) -> tuple[str, ...]:
        """The classes as the dataset's folders name them; none where there are no such or it is in doubt."""
        dataset = _innermost(self.dataset_cfg)
        if self.scope != 'mmpretrain' or dataset is None:
            return ()
        place, model = 'test_dataloader.dataset', bare_model(model)
        try:
            with DefaultScope.overwrite_default_scope(self.scope):
                names = class_folders(build_lazily(place, dataset))
        except InputError:
            return ()  # the data may be missing
        sure = number_of_classes(model) in (None, len(names))
        return tuple(names) if sure and not other_positions(place, names, model) else ()

    @torch.inference_mode()
    def __call__(self, packed: dict) -> Any:
        """Predict for one sample as a test pipeline packs it; returns the data sample.

        Raises:
            InputError: the model takes other inputs, such as videos.
        """
        kind = type(self.model).__name__
        with (
            DefaultScope.overwrite_default_scope(self.scope),
            used_so(f'{kind} cannot predict for a single image'),
        ):
            return self.model.test_step(pseudo_collate([packed]))[0]


def drop_data(cfg: Config) -> None:
    """Remove loaders and evaluators from a config, whose data may be missing."""
    for split in ('train', 'val', 'test'):
        for part in ('dataloader', 'evaluator', 'cfg'):
            cfg.pop(f'{split}_{part}', None)


def _innermost(dataset_cfg: dict | None) -> dict | None:
    """The config of the (first) dataset inside wrappers such as RepeatDataset and ConcatDataset."""
    return next((dataset for _, dataset in datasets_of('', dataset_cfg)), None)


def test_pipeline(predictor: Predictor) -> Compose:
    """The config's test pipeline without the steps that want annotations.

    Raises:
        InputError: the config has none.
    """
    pipeline = (_innermost(predictor.dataset_cfg) or {}).get('pipeline')
    if not pipeline:
        raise InputError('the config has no test_dataloader.dataset.pipeline to load images with')
    # including mmseg's LoadDepthAnnotation and LoadBiomedicalAnnotation
    steps = [s for s in pipeline if not re.search('Load.*Annotation', type_name(s))]
    place = 'test_dataloader.dataset.pipeline'
    with used_so(place), DefaultScope.overwrite_default_scope(predictor.scope):
        check_steps(place, steps)
        return Compose(steps)


def test_dataset(predictor: Predictor) -> Any:
    """The dataset of the config's test split, which has one.

    Raises:
        InputError: it cannot be built: its config has a mistake, or files are missing.
    """
    place = 'test_dataloader.dataset'
    with used_so(place), DefaultScope.overwrite_default_scope(predictor.scope):
        for inner_place, inner in datasets_of(place, predictor.dataset_cfg):
            check_names(inner_place, inner)
            check_dataset(inner_place, inner)
        return DATASETS.build(predictor.dataset_cfg)
