"""Weights that no model can compute with are refused by name; what looks like them is not."""

import pytest
import torch

from fan_mm.errors import InputError
from fan_mm.models.checkpoints import check_values

OWN = torch.zeros(2, 3)


def with_value(value, dtype=torch.float32):
    """Six weights, one of which has a value."""
    return torch.tensor([[0.5, -1.0, 2.0], [0.25, value, 1.5]]).to(dtype)


@pytest.mark.parametrize(
    ('name', 'value', 'said'),
    [
        ('head.weight', with_value(float('nan')), 'has values that are NaN or infinite'),
        ('head.weight', with_value(float('inf')), 'has values that are NaN or infinite'),
        ('head.bias', with_value(-float('inf'), torch.float16), 'has values that are NaN'),
        ('head.weight', with_value(float('nan'), torch.float8_e5m2), 'has values that are NaN'),
        # heads for masks, and a token that is learnt
        ('roi_head.mask_head.convs.0.weight', with_value(float('nan')), 'has values that are NaN'),
        ('mask_token', with_value(float('nan')), 'has values that are NaN'),
        ('head.weight', with_value(3, torch.int8), r'is quantised \(int8\)'),
        (
            'head.weight',
            torch.quantize_per_tensor(with_value(1.0), 0.1, 0, torch.qint8),
            r'is quantised \(qint8\)',
        ),
        ('head.weight', with_value(1.0).to_sparse(), 'is sparse'),
        ('head.weight', with_value(1.0, torch.float32).to('meta'), 'has no values'),
    ],
)
def test_refused(name, value, said):
    with pytest.raises(InputError, match=f'^{name} {said}'):
        check_values({'norm.weight': OWN, name: value}, {'norm.weight': OWN, name: OWN})


@pytest.mark.parametrize(
    ('name', 'value', 'own'),
    [
        ('layers.0.attn_mask', with_value(-float('inf')), OWN),  # of windows that are shifted
        ('not_in_the_model', with_value(float('nan')), None),
        ('norm.num_batches_tracked', torch.tensor(7), torch.tensor(0)),
        ('relative_position_index', with_value(3, torch.int64), OWN.long()),
        ('empty', torch.zeros(0, 4), torch.zeros(0, 4)),
        ('head.weight', with_value(1.0, torch.float8_e5m2), OWN),
        ('head.weight', with_value(1.0).to('meta'), OWN.to('meta')),
    ],
)
def test_taken(name, value, own):
    check_values({name: value}, {} if own is None else {name: own})
