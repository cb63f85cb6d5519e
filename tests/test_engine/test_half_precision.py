"""``--amp`` of ``tools/test.py`` and ``tools/test_corruption.py``."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import PixelData
from stripe_model import stripe_colours

pytest.importorskip('mmseg')

from fan_mm.engine import half_precision
from fan_mm.engine.half_precision import cpu_has_bfloat16, use_half_precision
from fan_mm.errors import InputError
from fan_mm.jobs.robustness import evaluate_robustness
from fan_mm.jobs.training import test as evaluate


@MODELS.register_module(force=True)
class LinearStripes(BaseModel):
    """The nearest colour's class as a 1x1 convolution gives it, in whatever precision it computes."""

    types = set()

    def __init__(self, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        colours = (stripe_colours() - 127.5) / 64
        self.head = torch.nn.Conv2d(3, 19, 1)
        self.head.weight.data = colours[..., None, None]
        self.head.bias.data = -0.5 * colours.square().sum(1)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        for image, sample in zip(inputs, data_samples, strict=True):
            scores = self.head((image[None].float() - 127.5) / 64)
            self.types.add(scores.dtype)
            sample.pred_sem_seg = PixelData(data=scores.argmax(1))
        return data_samples


@pytest.fixture
def cfg(stripe_config):
    cfg = Config.fromfile(stripe_config, import_custom_modules=False)
    cfg.model = dict(type='LinearStripes')
    LinearStripes.types.clear()
    return cfg


@pytest.fixture
def checkpoint(tmp_path):
    torch.save({'state_dict': LinearStripes().state_dict(), 'meta': {}}, tmp_path / 'linear.pth')
    return str(tmp_path / 'linear.pth')


def test_a_sweep_in_bfloat16(cfg, checkpoint, tmp_path):
    """Its metrics are those of float32 within 0.1, and neither goes on with the other's cells."""
    options = dict(corruptions=['fog'], severities=[1])
    text, found = cfg.dump(), []
    for amp in (False, True):
        cfg = Config.fromstring(text, '.py')
        out = tmp_path / f'out_{amp}'
        LinearStripes.types.clear()
        found.append(evaluate_robustness(cfg, checkpoint, out, amp=amp, **options))
        assert LinearStripes.types == {torch.bfloat16 if amp else torch.float32}
    assert [results['precision'] for results in found] == ['as the weights', 'bf16 autocast']
    for plain, half in zip(*(results['cells'] for results in found), strict=True):
        assert half['metrics'] == pytest.approx(plain['metrics'], abs=0.1)
    assert found[0]['cells'][0]['metrics']['mIoU'] > 50
    with pytest.raises(InputError, match='precision') as error:
        evaluate_robustness(Config.fromstring(text, '.py'), checkpoint, out, **options)
    assert 'config' not in str(error.value)


def test_a_test_in_bfloat16(cfg, checkpoint, tmp_path):
    cfg.work_dir = str(tmp_path / 'work')
    assert evaluate(cfg, checkpoint, amp=True)['mIoU'] > 50
    assert LinearStripes.types == {torch.bfloat16}


@pytest.mark.parametrize(
    ('scope', 'checkpoint', 'message'),
    [
        ('mmseg', 'a.onnx', r'^--amp: a\.onnx runs in the precision with which it was exported'),
        ('mmdet', 'a.pth', r'^--amp: operators of detectors \(NMS\) do not support bfloat16'),
    ],
)
def test_what_autocast_does_not_reach(scope, checkpoint, message):
    with pytest.raises(InputError, match=message):
        use_half_precision(Config(dict(default_scope=scope)), checkpoint)


@pytest.mark.parametrize(
    ('text', 'has'),
    [
        ('flags\t\t: fpu avx512f avx512_bf16 rdpid\n', True),
        ('flags\t\t: fpu avx512f\n', False),
        ('Features\t: fp asimd bf16 i8mm\n', True),
        ('processor : 0\n', True),  # nothing tells
    ],
)
def test_bfloat16_of_a_cpu(tmp_path, monkeypatch, text, has):
    file = tmp_path / 'cpuinfo'
    file.write_text(text)
    monkeypatch.setattr(half_precision, 'Path', lambda path: Path(file))
    assert cpu_has_bfloat16() is has
