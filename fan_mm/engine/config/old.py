"""Configs of mmcv 1.x (mmseg 0.x, mmdet 2.x, mmcls 0.x), which mmengine does not read: recognised and refused."""

from typing import Any

from fan_mm.config_parts import datasets_of, steps_of, type_name
from fan_mm.errors import InputError

# Keys of mmcv's runner. An mmengine config may still contain some of them, unused.
_OLD_KEYS = (
    *('data', 'runner', 'lr_config', 'optimizer_config', 'checkpoint_config', 'log_config'),
    *('total_epochs', 'total_iters', 'evaluation', 'workflow', 'dist_params'),
)
_NEW_KEYS = ('train_dataloader', 'val_dataloader', 'test_dataloader', 'optim_wrapper', 'train_cfg')
# Replaced by PackSegInputs, PackDetInputs, PackInputs and by TestTimeAug.
_OLD_STEPS = ('DefaultFormatBundle', 'Collect', 'ImageToTensor', 'MultiScaleFlipAug')
_GUIDE = (
    'rewrite it for mmengine: "Migration" in the documentation of mmseg 1.x, mmdet 3.x or mmpretrain 1.x, '
    'or use the config of the same name shipped with these'
)


def refuse_old_config(cfg: Any) -> None:
    """Say what a config is whose data, optimizer and schedule mmengine would not see.

    Raises:
        InputError: the config, or its datasets, are in the format of mmcv 1.x.
    """
    new = [key for key in _NEW_KEYS if cfg.get(key) is not None]
    old = [key for key in _OLD_KEYS if cfg.get(key) is not None]
    if type_name(cfg.get('optimizer')) and 'optim_wrapper' not in cfg:
        old.append('optimizer')
    if old and not new:
        raise InputError(f'this is a config of mmcv 1.x (it has {", ".join(old)}): {_GUIDE}')
    if cfg.get('default_scope') == 'mmcls':
        raise InputError(
            "default_scope='mmcls' belongs to mmcls 1.0rc, which became mmpretrain: set default_scope='mmpretrain'"
        )
    for name in new:
        loader = cfg[name]
        dataset = loader.get('dataset') if isinstance(loader, dict) else None
        if isinstance(dataset, list | tuple) and any(map(type_name, dataset)):
            raise InputError(
                f'{name}.dataset is a list, which only mmcv 1.x joined: '
                "make it dict(type='ConcatDataset', datasets=[...])"
            )
        for place, inner in datasets_of(f'{name}.dataset', dataset):
            for step in steps_of(inner.get('pipeline')):
                if type_name(step) in _OLD_STEPS:
                    raise InputError(
                        f'{place}.pipeline has {type_name(step)} of mmcv 1.x: {_GUIDE}'
                    )


def unread_keys(cfg: Any) -> list[str]:
    """A line for the log if a config carries a schedule of mmcv 1.x beside mmengine's settings."""
    found = [key for key in ('lr_config', 'optimizer_config') if cfg.get(key) is not None]
    if not found:
        return []
    return [f'{" and ".join(found)} of mmcv 1.x is ignored: use param_scheduler and optim_wrapper']
