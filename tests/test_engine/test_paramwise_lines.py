"""What mmengine says of each parameter's options is one line."""

import pytest
import torch
from mmengine.runner import Runner
from torch import nn

from fan_mm.engine.paramwise_lines import gather_paramwise_lines


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)) for _ in range(3)]
        )

    def forward(self, x, mode=None):
        for layer in self.layers:
            x = layer(x)
        return {'loss': x.square().mean()}

    def train_step(self, data, optim_wrapper):
        loss = self(torch.stack(data))['loss']
        optim_wrapper.update_params(loss)
        return {'loss': loss}


@pytest.mark.parametrize('level', ['INFO', 'DEBUG'])
def test_lines_are_counted(tmp_path, level):
    runner = Runner(
        model=Model(),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=[torch.ones(2)] * 4,
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.1, weight_decay=0.5),
            paramwise_cfg=dict(norm_decay_mult=0.0, bias_lr_mult=2.0),
        ),
        experiment_name=f'paramwise_{level}',
        log_level=level,
    )
    gather_paramwise_lines(runner)
    runner.train()
    (log,) = tmp_path.glob('*/*.log')
    lines = [line for line in log.read_text().splitlines() if 'paramwise_options' in line]
    if level == 'DEBUG':
        assert len(lines) == 9
    else:
        assert len(lines) == 1
        assert 'lr=0.2 3x' in lines[0] and 'weight_decay=0.0 6x' in lines[0]
    assert runner.logger.filters == []
