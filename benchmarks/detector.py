"""Time a detector's training step and measure its peak memory, with and without what saves them.

    python benchmarks/detector.py configs/fan_hybrid_s_mask_rcnn_coco.py --size 800x1333

A step consists of forward pass, losses, backward pass and AdamW. ``with_cp`` recomputes the backbone's
activations in the backward pass; bfloat16 is autocast of backbone and neck (mmcv's operators do not support
it). The first step of each variant is not timed, because it creates the optimizer's state. Peak memory is
that of a step beyond weights, gradients and optimizer state (on a CPU: Linux only).
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measuring import add_machine, machine, peak_memory
from mmengine.config import Config, DictAction
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from rich.console import Console
from rich.table import Table

from fan_mm.cli import run, size, tool_parser
from fan_mm.engine import FeatureAmpOptimWrapper
from fan_mm.engine.runtime import register_task_library
from fan_mm.errors import InputError

OBJECTS = 7  # per image: COCO's mean


def batch(size: tuple[int, int], count: int, classes: int) -> dict:
    """Random images with boxes and elliptic masks, as mmdet's loaders give them."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    rng = np.random.default_rng(0)
    (height, width), samples = size, []
    rows, columns = np.ogrid[:height, :width]
    for _ in range(count):
        half = np.exp(rng.uniform(np.log(8), np.log(min(size) / 3), (OBJECTS, 2)))
        centre = half + rng.uniform(size=(OBJECTS, 2)) * (np.array([width, height]) - 2 * half)
        masks = [
            ((columns - x) / a) ** 2 + ((rows - y) / b) ** 2 < 1
            for (x, y), (a, b) in zip(centre, half, strict=True)
        ]
        boxes = np.concatenate([centre - half, centre + half], axis=1)
        truth = InstanceData(
            bboxes=HorizontalBoxes(torch.from_numpy(boxes).float()),
            labels=torch.from_numpy(rng.integers(0, classes, OBJECTS)),
            masks=BitmapMasks(np.array(masks, np.uint8), height, width),
        )
        meta = dict(img_shape=size, ori_shape=size, pad_shape=size, scale_factor=(1.0, 1.0))
        sample = DetDataSample(gt_instances=truth, metainfo=meta)
        sample.ignored_instances = InstanceData(bboxes=HorizontalBoxes(torch.zeros(0, 4)))
        samples.append(sample)
    images = rng.integers(0, 256, (count, 3, height, width), dtype=np.uint8)
    return dict(inputs=list(torch.from_numpy(images)), data_samples=samples)


def training_step(cfg: Config, data: dict, with_cp: bool, half: bool, device: str) -> Callable:
    """A function that takes one training step of a new model."""
    cfg.model.backbone.update(with_cp=with_cp, init_cfg=None)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = revert_sync_batchnorm(MODELS.build(cfg.model)).to(device).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = FeatureAmpOptimWrapper(torch.optim.AdamW(parameters, lr=1e-6, fused=True))

    def step() -> None:
        precision = optimizer.optim_context(model) if half else contextlib.nullcontext()
        with DefaultScope.overwrite_default_scope('mmdet'), precision:
            loss, _ = model.parse_losses(
                model(**model.data_preprocessor(data, training=True), mode='loss')
            )
        loss.backward()
        optimizer.optimizer.step()
        optimizer.optimizer.zero_grad(set_to_none=False)
        if device == 'cuda':
            torch.cuda.synchronize()

    return step


def main() -> None:
    """Print one table."""
    parser = tool_parser(__doc__, '')
    parser.add_argument('config', help='config of a two-stage detector')
    parser.add_argument('--size', type=size, default=(800, 1333), metavar='HxW')
    parser.add_argument('--batch', type=int, default=1)
    add_machine(parser, rounds=2)
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='change the config: key=value'
    )
    args = parser.parse_args()
    if not Path(args.config).is_file():
        raise InputError(f'no such config: {args.config}')
    cfg = Config.fromfile(args.config)
    if cfg.get('default_scope') != 'mmdet':
        raise InputError(f'{args.config} is no detection config')
    cfg.merge_from_dict(args.cfg_options or {})
    register_task_library(cfg)
    device, where = machine(args)
    height, width = args.size
    head = cfg.model.roi_head.bbox_head
    classes = (head[0] if isinstance(head, list) else head).num_classes
    data = batch((height, width), args.batch, classes)

    name = Path(args.config).stem
    print(f'{name}: training step, batch {args.batch}, {height} x {width}, {where}')
    table = Table()
    for column in ('with_cp', 'bfloat16', 'seconds', 'peak memory, MiB'):
        table.add_column(column, justify='right')
    for with_cp in (False, True):
        for half in (False, True):
            step = training_step(cfg, data, with_cp, half, device)
            step()
            seconds, memory = [], 0

            def timed(step: Callable = step, seconds: list = seconds) -> None:
                start = time.perf_counter()
                step()
                seconds.append(time.perf_counter() - start)

            for _ in range(args.rounds):
                memory = max(memory, peak_memory(timed, device))
            words = ['yes' if on else 'no' for on in (with_cp, half)]
            table.add_row(*words, f'{min(seconds):.2f}', f'{memory / 2**20:.0f}')
            del step, timed
    Console(width=100).print(table)


if __name__ == '__main__':
    run(main)
