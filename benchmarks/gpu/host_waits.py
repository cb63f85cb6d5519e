"""Forward passes and training steps never wait for the host.

Each case is first run at another size, in which kernels may be selected, then at a new size. Steps with float16
loss scaling are not included, because the scaler itself checks on the host whether gradients are finite.
"""

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator

import torch
from backbone import step
from torch import Tensor, nn

from gpu.exactness import BACKBONES
from gpu.results import Results
from gpu.segmentors import segmentor
from gpu.timing import device

SIZES, SMALL_SIZES = ((320, 320), (256, 416)), ((32, 32), (32, 64))


def measure(results: Results, small: bool) -> None:
    """Add a row for every backbone and kind of pass; and one for mmseg's part of a training step."""
    for backbone in BACKBONES[:1] if small else BACKBONES:
        for with_cp in (False, True):
            module = backbone('tiny', out_indices=(0, 1, 2, 3), with_cp=with_cp).to(device())
            for train in (True,) if with_cp else (False, True):
                for half in (False, True):
                    what = 'training step' if train else 'forward pass'
                    what += ', bfloat16' * half + ', with_cp' * with_cp
                    with results.case(f'{what}, {backbone.__name__} tiny') as row:
                        images = [image(size) for size in (SMALL_SIZES if small else SIZES)]
                        row['holds'] = never_waits(module.train(train), images, train, half)
    with results.case('training step of a segmentor with its losses (mmseg, not claimed)') as row:
        row |= waits_of_losses(small)


def image(size: tuple[int, int]) -> Tensor:
    """Two random images."""
    return torch.randn(2, 3, *size, device=device())


def never_waits(module: nn.Module, images: list[Tensor], train: bool, half: bool) -> bool:
    """Run on every size; on the last one, waiting raises an error."""
    parameters = list(module.parameters())
    *first, last = [step(module, parameters, x, train, half) for x in images]
    for work in first:
        work()
    with sync_debug_mode('error'):
        last()
        last()
    return True


@contextlib.contextmanager
def sync_debug_mode(mode: str) -> Iterator[None]:
    """Make PyTorch warn of, or refuse, operations that wait for the GPU."""
    if not torch.cuda.is_available():
        yield
        return
    torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode('default')


def waits_of_losses(small: bool) -> dict:
    """How often a whole segmentor's losses and gradients wait, and in which lines."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    size = SMALL_SIZES[0] if small else (512, 512)
    model = segmentor('FAN-Hybrid-T').train()
    labels = torch.randint(0, 19, (1, *size), device=device())
    samples = [SegDataSample(metainfo=dict(img_shape=size)) for _ in range(2)]
    for sample in samples:
        sample.gt_sem_seg = PixelData(data=labels)
    images = image(size)

    def losses() -> None:
        model.parse_losses(model.loss(images, samples))[0].backward()

    losses()
    with sync_debug_mode('warn'), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        losses()
    waits = [w for w in caught if 'synchronizing' in str(w.message)]
    places = Counter(f'{"/".join(w.filename.split("/")[-2:])}:{w.lineno}' for w in waits)
    return dict(waits=len(waits), where=', '.join(places))
