"""timm's models of like size beside ours, on classification features of 224x224 images."""

import torch
from measuring import least_seconds, peak_memory, step
from operations import flops_of
from rich.table import Table
from torch import Tensor

import fan_mm.models
from fan_mm.errors import InputError

OURS = {'FAN-Hybrid-S': ('FANHybrid', 'small'), 'FAN-ViT-S': ('FANViT', 'small')}
TIMM = {
    'ConvNeXt-T': 'convnext_tiny',
    'DeiT-S': 'deit_small_patch16_224',
    'XCiT-S12': 'xcit_small_12_p16_224',
    'Swin-T': 'swin_tiny_patch4_window7_224',
}
SIZE = 224


def peers() -> dict[str, torch.nn.Module]:
    """Models that give a sample's features, by name.

    Raises:
        InputError: timm is not installed.
    """
    try:
        import timm
    except ImportError:
        raise InputError('--peers needs timm: pip install timm') from None
    torch.manual_seed(0)
    models = {
        name: getattr(fan_mm.models, kind)(arch, out_type='cls_token')
        for name, (kind, arch) in OURS.items()
    }
    return models | {n: timm.create_model(id_, num_classes=0) for n, id_ in TIMM.items()}


def gmacs_of(model: torch.nn.Module) -> float:
    """Billions of multiplications and additions of one image's forward pass."""
    model.cpu().eval()
    with torch.no_grad():
        return flops_of(lambda: model(torch.randn(1, 3, SIZE, SIZE))) / 2e9


def peers_table(
    batch: int,
    train: bool,
    device: str,
    rounds: int,
) -> Table:
    """Images per second, per GMAC, and peak memory of each.

    Args:
        batch: batch size.
        train: measure a training step with AdamW instead of a forward pass.
        device: 'cpu' or 'cuda'.
        rounds: number of rounds, of which the minimum times are used.
    """
    what = 'training step' if train else 'inference'
    table = Table(title=f'{what}, batch {batch}, {SIZE} x {SIZE}, float32, {device}')
    table.add_column('model')
    for column in ('parameters, M', 'GMAC', 'images/s', 'GMAC/s', 'peak memory, MiB'):
        table.add_column(column, justify='right')
    models = peers()
    gmacs = {name: gmacs_of(model) for name, model in models.items()}
    images: Tensor = torch.randn(batch, 3, SIZE, SIZE, device=device)
    works = {}
    for name, model in models.items():
        model.to(device).train(train)
        works[name] = step(
            lambda x, model=model: _features(model(x)),
            list(model.parameters()),
            images,
            train,
            False,
        )
        works[name]()  # warm-up: kernel selection, optimizer state
    peaks = {name: peak_memory(work, device) for name, work in works.items()}
    seconds = least_seconds(works, rounds, device)
    for name, model in models.items():
        rate = batch / seconds[name]
        table.add_row(
            name,
            f'{sum(p.numel() for p in model.parameters()) / 1e6:.1f}',
            f'{gmacs[name]:.2f}',
            f'{rate:.1f}',
            f'{rate * gmacs[name]:.0f}',
            f'{peaks[name] / 2**20:.0f}',
        )
    return table


def _features(output: object) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else list(output)
