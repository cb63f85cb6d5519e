"""An exported file stands for a network that a classifier has whole inside, if it is that network's."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from torch import nn

from fan_mm.engine import onnx_file
from fan_mm.engine.exported_model import computing_part, count_parameters
from fan_mm.engine.onnx_file import use_onnx
from fan_mm.errors import InputError


class Net(nn.Sequential):
    """Scores of five classes, plain or in an object, as Hugging Face's networks give them."""

    def __init__(self, logits=False, classes=5):
        super().__init__(
            nn.Conv2d(3, classes, 3), nn.BatchNorm2d(classes), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.logits = logits

    def forward(self, images):
        scores = super().forward(images)
        return SimpleNamespace(logits=scores) if self.logits else scores


class Wrapper(BaseModel):
    """As mmpretrain's TimmClassifier and HuggingFaceClassifier."""

    def __init__(self, net, *others):
        super().__init__()
        self.model = net
        self.loss_module = nn.CrossEntropyLoss()
        self.others = nn.ModuleList(others)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        made = self.model(inputs)
        scores = made.logits if self.model.logits else made
        return scores if mode == 'tensor' else list(scores.softmax(1))


class Session:
    """An onnxruntime session that runs a PyTorch network, for some images at once."""

    def __init__(self, net, batch='batch', classes=5):
        self.net, self.batch, self.classes = net.eval(), batch, classes

    def get_inputs(self):
        shape = [self.batch, 3, 8, 8]
        return [SimpleNamespace(name='images', type='tensor(float)', shape=shape)]

    def get_outputs(self):
        return [SimpleNamespace(name='logits', shape=[self.batch, self.classes])]

    @torch.no_grad()
    def run(self, _, given):
        images = torch.from_numpy(given['images'])
        assert self.batch in ('batch', len(images))
        made = self.net(images)
        return [getattr(made, 'logits', made).numpy()]


def content(session, **told):
    told = dict(backbone='Net', normalisation={}, size=[8, 8], **told)
    return dict(onnx=session, meta=dict(export=told))


@pytest.fixture
def images():
    return torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('logits', [False, True])
@pytest.mark.parametrize('batch', ['batch', 1, 4])
def test_scores_are_the_files(images, logits, batch):
    """Plain or in an object; by parts where a file takes so many images at once, the last filled up."""
    torch.manual_seed(0)
    exported, model = Net(logits), Wrapper(Net(logits)).eval()
    model.model.logits = logits
    told = content(Session(exported, batch), parameters=count_parameters(exported))
    use_onnx(model, told, 'm.onnx')
    expected = exported.eval()(images)
    expected = expected.logits if logits else expected
    model.model.logits = logits  # which the wrapper of this test asks
    torch.testing.assert_close(model(images), expected)
    torch.testing.assert_close(
        torch.stack(model(images, mode='predict')), expected.detach().softmax(1)
    )
    use_onnx(model, told, 'm.onnx')  # again, as by a sweep


@pytest.mark.parametrize(
    ('model', 'told', 'message'),
    [
        (
            Wrapper(Net(classes=7)),
            {},
            r'm\.onnx outputs scores for 5 classes, the config has 7',
        ),
        (
            Wrapper(Net()),
            dict(parameters=1234567),
            r'its Net has 1,234,567 parameters, the config\'s 150',
        ),
        (
            Wrapper(Net()),
            dict(task='segmentation'),
            'for segmentation, but Wrapper is for classification',
        ),
        (Wrapper(Net()), dict(backbone='ResNet'), 'with ResNet, the config has Net'),
        (Wrapper(Net(), nn.Linear(2, 2)), {}, 'Wrapper, which has neither a backbone nor'),
    ],
)
def test_a_file_of_another_network_is_refused(model, told, message):
    made = content(Session(Net()))
    made['meta']['export'] |= told
    with pytest.raises(InputError, match=message) as error:
        use_onnx(model, made, 'm.onnx')
    assert '\n' not in str(error.value)


def test_a_model_on_another_device_or_of_another_precision(images):
    """As a Runner has put it on the GPU before weights are loaded."""
    for place in ('meta', torch.float64):
        net, model = Net(), Wrapper(Net()).to(place)
        use_onnx(model, content(Session(net)), 'm.onnx')
        torch.testing.assert_close(model.model(images), net(images).detach())


def test_values_that_are_no_numbers_are_refused(images):
    net, model = Net(), Wrapper(Net())
    with torch.no_grad():
        net[0].weight[0] = float('nan')
    use_onnx(model, content(Session(net)), 'm.onnx')
    model.model.logits = False
    with pytest.raises(InputError, match='returns NaN: it is damaged, or float16 overflows'):
        model(images)


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (nn.Softmax(1), 1),
        (nn.Identity(), 0),
        (nn.Softplus(), 0),  # not negative
        (nn.LayerNorm(5, elementwise_affine=False), 0),  # equal sums
        (nn.Sigmoid(), 0),
    ],
)
def test_a_softmax_at_the_end_of_the_file_is_said_once(images, monkeypatch, change, said):
    lines = []
    monkeypatch.setattr(onnx_file, 'warn', lines.append)
    net, model = Net(), Wrapper(Net())
    use_onnx(model, content(Session(nn.Sequential(net, change))), 'm.onnx')
    for _ in range(2):
        model.model(images)
    assert len(lines) == said
    assert all("the 'logits' in the ONNX file are not negative and sum to 1" in x for x in lines)


def test_what_computes():
    model = Wrapper(Net())
    assert computing_part(model) == 'model'
    assert computing_part(Wrapper(Net(), nn.Linear(2, 2))) is None
    model.backbone = nn.Identity()
    assert computing_part(model) == 'backbone'
    assert count_parameters(Net()) == 3 * 5 * 9 + 5 + 2 * 5
