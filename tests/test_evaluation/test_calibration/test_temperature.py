"""The temperature: recovered where it is known, refused where there is none, fitted on pictures apart."""

import pytest
import torch
from calibrated_samples import a_map, sample

from fan_mm.errors import InputError
from fan_mm.evaluation.calibration import temperature
from fan_mm.evaluation.calibration.temperature import Samples, check_apart, fit, mean_nll


@pytest.mark.parametrize('temperature', [0.4, 1.0, 2.5])
def test_a_known_temperature_is_recovered(temperature):
    torch.manual_seed(1)
    logits = 3 * torch.randn(5, 40000)
    labels = torch.multinomial((logits / temperature).T.softmax(1), 1)[:, 0]
    found = fit(logits, labels)
    assert found == pytest.approx(temperature, rel=0.03)
    nearby = [mean_nll(logits, labels, found * factor) for factor in (0.98, 1.02)]
    assert mean_nll(logits, labels, found) < min(nearby)


@pytest.mark.parametrize(('right', 'why'), [(True, 'right nearly everywhere'), (False, 'chance')])
def test_no_temperature_is_the_best(right, why):
    logits = 3 * torch.randn(4, 500)
    with pytest.raises(InputError, match=why):
        fit(logits, logits.argmax(0) if right else logits.argmin(0))


def test_samples_are_spread_over_the_valid_pixels(monkeypatch):
    whole, part = Samples(2), Samples(2)
    _, labels, _ = a_map()
    whole.add([sample(), sample()])
    found = whole.fit()
    assert (found.pictures, found.samples) == (2, 2 * int((labels != 255).sum()))
    assert found.nll[1] < found.nll[0]
    monkeypatch.setattr(temperature, 'VALUES', 7 * 2 * 500)
    part.add([sample(), sample()])
    assert 900 <= part.fit().samples <= 1000
    with pytest.raises(InputError, match='there are no images'):
        Samples(0).fit()
    with pytest.raises(InputError, match='no valid pixel'):
        empty = Samples(1)
        empty.add([sample(gt_sem_seg=torch.full_like(labels, 255)[None])])
        empty.fit()


def test_one_channel_is_the_probability_of_class_1():
    torch.manual_seed(0)
    logit = 3 * torch.randn(1, 20, 30)
    labels = (torch.rand(1, 20, 30) < (logit / 2).sigmoid()).long()
    both = torch.cat([torch.zeros_like(logit), logit])
    one, two = Samples(1), Samples(1)
    one.add([sample(seg_logits=logit.sigmoid(), gt_sem_seg=labels, pred_sem_seg=logit > 0)])
    two.add([sample(seg_logits=both, gt_sem_seg=labels, pred_sem_seg=both.argmax(0)[None])])
    assert one.fit().value == pytest.approx(two.fit().value, rel=1e-3)
    assert one.fit().nll == pytest.approx(two.fit().nll, rel=1e-4)


def test_pictures_that_are_evaluated_are_not_fitted_on(tmp_path):
    paths = {}
    for name, content in (('train', b'aaa'), ('val', b'bbb'), ('copy_of_val', b'bbb')):
        paths[name] = tmp_path / f'{name}.png'
        paths[name].write_bytes(content)
    link = tmp_path / 'link.png'
    link.symlink_to(paths['val'])
    check_apart([paths['train'], 's3://bucket/a.png'], [paths['val'], 's3://bucket/b.png'])
    for same in (paths['val'], paths['copy_of_val'], link):
        with pytest.raises(InputError, match='of the evaluated split'):
            check_apart([paths['train'], same], [paths['val']])
