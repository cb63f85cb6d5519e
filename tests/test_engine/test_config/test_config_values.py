import pytest
from mmengine.config import Config

from fan_mm.engine.config.values import check_values
from fan_mm.errors import InputError


@pytest.mark.parametrize(
    'entries',
    [
        dict(train_dataloader=dict(batch_size=2, num_workers=0, dataset=dict(type='A'))),
        dict(val_dataloader=[dict(batch_size=1), dict(batch_size=1)], val_evaluator=[]),
        dict(train_cfg=dict(max_iters=1e5, val_interval=2), val_cfg=None, test_cfg=dict()),
        dict(randomness=dict(seed=None), load_from=None, work_dir=None, resume=False),
        dict(optim_wrapper=dict(optimizer=dict(lr=0.0), paramwise_cfg=None)),
        dict(default_hooks=dict(checkpoint=dict(interval=-1, max_keep_ckpts=-1), timer=None)),
        dict(model=dict(head=dict(num_classes=10), neck=None), log_level='DEBUG'),
        dict(model=dict(head=dict(type='Own', num_classes=[3, 4]))),
        dict(model=[dict(type='A')], auto_scale_lr=dict(base_batch_size=16), log_level=10),
    ],
)
def test_what_configs_have_is_left_alone(entries):
    check_values(Config(entries))


@pytest.mark.parametrize(
    'entries, said',
    [
        (dict(model=3), r'model is 3, but must be dict'),
        (dict(model=None), r'model is None'),
        (dict(train_dataloader=dict(batch_size=True)), r'train_dataloader\.batch_size is True'),
        (dict(val_dataloader=dict(num_workers='2')), r"val_dataloader\.num_workers is '2'"),
        (dict(train_cfg=dict(max_epochs=float('inf'))), r'train_cfg\.max_epochs is inf'),
        (dict(train_cfg=dict(val_interval=0)), r'val_interval is 0'),
        (dict(randomness=dict(seed=2**32)), r'seed is 4294967296, but must be .* to 4294967295'),
        (dict(optim_wrapper=dict(optimizer=dict(lr='1e-3'))), r"lr is '1e-3'"),
        (dict(log_level='LOUD'), r"log_level is 'LOUD'"),
        (dict(load_from=3), r'load_from is 3, but must be a path'),
    ],
)
def test_what_nothing_can_be_built_from_is_told_by_its_place(entries, said):
    with pytest.raises(InputError, match=said):
        check_values(Config(entries))
