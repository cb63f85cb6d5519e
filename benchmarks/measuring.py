"""What the benchmarks of models share: the machine, a step of a model, least seconds, peak memory."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

import fan_mm.models
from fan_mm.errors import InputError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'tests'))
from reference.memory import peak_memory

__all__ = [
    'BACKBONES',
    'add_machine',
    'backbone_of',
    'least_seconds',
    'machine',
    'peak_memory',
    'step',
]
BACKBONES = {'fan_vit': 'FANViT', 'fan_hybrid': 'FANHybrid', 'fan_swin': 'FANSwin'}


def backbone_of(name: str, kinds: Iterable[str] = BACKBONES) -> tuple[str, type[nn.Module], str]:
    """Kind, class and arch of 'fan_hybrid:small'.

    Raises:
        InputError: it is none of some kinds.
    """
    kind, _, arch = name.partition(':')
    if kind not in kinds:
        raise InputError(f'--arch is BACKBONE:SIZE with a BACKBONE of {", ".join(kinds)}')
    return kind, getattr(fan_mm.models, BACKBONES[kind]), arch


def add_machine(parser: argparse.ArgumentParser, rounds: int = 5) -> None:
    """Arguments that say where, and how often, something is measured."""
    add = parser.add_argument
    add('--device', choices=('cpu', 'cuda'), default=None, help='default: the GPU')
    add('--threads', type=int, default=None, help='of a CPU (default: all)')
    add('--rounds', type=int, default=rounds, help='(default: %(default)s)')


def machine(args: argparse.Namespace) -> tuple[str, str]:
    """The device of `add_machine`, set up, and what it is called."""
    if args.threads:
        torch.set_num_threads(args.threads)
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    if device == 'cuda':
        return device, torch.cuda.get_device_name()
    return device, f'{torch.get_num_threads()} threads'


def step(
    model: Callable[[Tensor], list[Tensor]],
    parameters: list[Tensor],
    images: Tensor,
    train: bool,
    half: bool,
) -> Callable[[], object]:
    """A function that computes a model's maps, or takes a training step of them with AdamW."""
    device = images.device.type
    optimizer = None
    if train:
        capturable = images.is_cuda  # its steps are counted on the GPU
        optimizer = torch.optim.AdamW(parameters, lr=1e-6, fused=True, capturable=capturable)

    def work() -> object:
        precision = torch.autocast(device, torch.bfloat16, enabled=half)
        with precision, torch.set_grad_enabled(train):
            maps = model(images)
        if train:
            sum(x.float().square().mean() for x in maps).backward()
            optimizer.step()
            optimizer.zero_grad()
            return None
        return maps

    return work


def least_seconds(named: dict[str, Callable], rounds: int, device: str) -> dict[str, float]:
    """Least seconds of each, called in turn."""
    best = dict.fromkeys(named, float('inf'))
    for _ in range(rounds):
        for name, work in named.items():
            start = time.perf_counter()
            work()
            if device == 'cuda':
                torch.cuda.synchronize()
            best[name] = min(best[name], time.perf_counter() - start)
    return best
