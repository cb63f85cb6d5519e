#!/usr/bin/env python
"""Wall time of a sweep of K cells against K clean evaluations, and against mmdet's way.

mmdet's ``test_robustness.py`` rebuilds model, dataset and loader for every cell. Here both ways evaluate the same
cells of the same images with the same corruptions, so the difference is due to the sweep.

    python benchmarks/sweep.py --device cuda --size 1024x2048 --workers 8 --images 64

Wall time is meaningful only on an idle machine, so the CPU seconds of all processes and threads are also printed.
Corruptions cost CPU time, so the first ratio is informative about the sweep only if the model, not the loader, is the
bottleneck: on a CPU, where both share the cores, this requires a large model.

Finally the loader alone is measured: the cost of an image in a cell with and without images cached across cells
(``--image-cache``), and how much of it is due to the corruption. ``--photos`` is a folder of real images, which are
resized; otherwise images are rendered. ``--rounds 0`` measures only this part.
"""

import argparse
import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from loader import print_costs
from mmengine.config import Config, ConfigDict
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner, load_checkpoint

from fan_mm.cli import run, tool_parser
from fan_mm.corruptions import BENCHMARKS
from fan_mm.evaluation import RobustnessSweep


def write_dataset(root: Path, images: int, size: tuple[int, int]) -> None:
    """Noise over stripes, in the Cityscapes layout."""
    rng = np.random.default_rng(0)
    height, width = size
    for index in range(images):
        label = np.repeat(rng.integers(0, 19, width // 16), 16)[None].repeat(height, axis=0)
        picture = rng.integers(0, 200, (19, 3))[label] + rng.integers(0, 50, (*label.shape, 3))
        for folder, suffix, array in (
            ('leftImg8bit', 'leftImg8bit', picture),
            ('gtFine', 'gtFine_labelTrainIds', label),
        ):
            path = root / folder / 'val' / 'town' / f'town_{index:06d}_000019_{suffix}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), array.astype(np.uint8))


def config(root: Path, workers: int, depth: int) -> Config:
    """An FCN on a ResNet, dilated to stride 8, as mmseg's."""
    norm = dict(type='BN')
    return Config(
        dict(
            model=dict(
                type='EncoderDecoder',
                data_preprocessor=dict(
                    type='SegDataPreProcessor',
                    mean=[123.675, 116.28, 103.53],
                    std=[58.395, 57.12, 57.375],
                    bgr_to_rgb=True,
                ),
                backbone=dict(
                    type='ResNetV1c',
                    depth=depth,
                    out_indices=(0, 1, 2, 3),
                    dilations=(1, 1, 2, 4),
                    strides=(1, 2, 1, 1),
                    norm_cfg=norm,
                    contract_dilation=True,
                ),
                decode_head=dict(
                    type='FCNHead',
                    in_channels=512 if depth < 50 else 2048,
                    channels=128,
                    num_classes=19,
                    norm_cfg=norm,
                ),
                test_cfg=dict(mode='whole'),
            ),
            loader=dict(
                batch_size=1,
                num_workers=workers,
                sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(
                    type='CityscapesDataset',
                    data_root=str(root),
                    data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='LoadAnnotations'),
                        dict(type='PackSegInputs'),
                    ],
                ),
            ),
            evaluator=dict(type='IoUMetric', iou_metrics=['mIoU']),
        )
    )


def build_model(cfg: Config, checkpoint: Path, device: str) -> torch.nn.Module:
    """The model with its weights."""
    model = MODELS.build(cfg.model)
    load_checkpoint(model, str(checkpoint), map_location='cpu')
    return model.to(device).eval()


@torch.no_grad()
def evaluate(model: torch.nn.Module, loader_cfg: ConfigDict, evaluator_cfg: ConfigDict) -> dict:
    """What mmengine's TestLoop does."""
    loader = Runner.build_dataloader(loader_cfg)
    evaluator = Evaluator(evaluator_cfg)
    evaluator.dataset_meta = loader.dataset.metainfo
    for batch in loader:
        evaluator.process(model.test_step(batch), batch)
    return evaluator.evaluate(len(loader.dataset))


def seconds(function: Callable[[], object]) -> tuple[tuple[float, float], object]:
    """Wall and CPU time of a call, loader workers included, and what it returned."""

    def cpu() -> float:
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system

    start = time.perf_counter(), cpu()
    value = function()
    return (time.perf_counter() - start[0], cpu() - start[1]), value


def main() -> None:
    """Measure the three ways in turn, several rounds, then the loader alone."""
    parser = tool_parser(__doc__, '')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--size', default='128x256', help='HxW of the images (%(default)s)')
    parser.add_argument('--images', type=int, default=24, help='(%(default)s)')
    parser.add_argument('--workers', type=int, default=1, help='of the loader (%(default)s)')
    parser.add_argument('--depth', type=int, default=50, help='of the ResNet (%(default)s)')
    parser.add_argument('--severity', type=int, default=3, help='(%(default)s)')
    parser.add_argument('--rounds', type=int, default=3, help='of sweeps (%(default)s)')
    parser.add_argument('--photos', metavar='DIR', help='JPEG or PNG files for the loader alone')
    parser.add_argument(
        '--loaded',
        type=int,
        default=16,
        help='pictures for the loader alone; 0: skip (%(default)s)',
    )
    args = parser.parse_args()

    import mmseg.datasets
    import mmseg.evaluation
    import mmseg.models  # noqa: F401  (registration)

    init_default_scope('mmseg')
    MMLogger.get_instance('benchmark').setLevel('ERROR')
    names = list(BENCHMARKS['cityscapes-c'].severities)
    with tempfile.TemporaryDirectory() as folder:
        root, checkpoint = Path(folder, 'cityscapes'), Path(folder, 'weights.pth')
        write_dataset(root, args.images, tuple(int(v) for v in args.size.split('x')))
        cfg = config(root, args.workers, args.depth)
        torch.manual_seed(0)
        torch.save({'state_dict': MODELS.build(cfg.model).state_dict()}, checkpoint)
        model = build_model(cfg, checkpoint, args.device)

        def clean() -> dict:
            return evaluate(model, cfg.loader, cfg.evaluator)

        def sweep() -> list[float]:
            results = RobustnessSweep(
                model, cfg.loader, cfg.evaluator, severities=[args.severity]
            ).run()
            return [cell['metrics']['mIoU'] for cell in results['cells']]

        def cell_by_cell() -> list[float]:
            scores = []
            for name in ['clean', *names]:
                loader = copy.deepcopy(cfg.loader)
                corruption = dict(type='CorruptImage', corruption=name, severity=args.severity)
                loader.dataset.pipeline.insert(1, corruption)
                built = build_model(cfg, checkpoint, args.device)
                scores.append(round(float(evaluate(built, loader, cfg.evaluator)['mIoU']), 4))
            return scores

        if args.rounds:
            clean()  # warm up
        times = {'clean': [], 'sweep': [], 'cell by cell': []}
        for _ in range(args.rounds):
            for name, way in (('clean', clean), ('sweep', sweep), ('cell by cell', cell_by_cell)):
                elapsed, value = seconds(way)
                times[name].append(elapsed)
                if name == 'sweep':
                    scores = value
            assert scores == value, 'the two ways disagree'
    if args.rounds:
        report(args, len(names) + 1, times)
    if args.loaded:
        with tempfile.TemporaryDirectory() as folder:
            print_costs(Path(folder), args.photos, args.loaded, args.severity)


def report(args: argparse.Namespace, cells: int, times: dict[str, list]) -> None:
    """Print the ratios of the medians of wall and CPU time."""
    print(
        f'{args.device}, ResNet-{args.depth}, {args.images} images of {args.size}, '
        f'{args.workers} workers, K = {cells} cells, median of {args.rounds} rounds'
    )
    for clock, what in enumerate(('wall time', 'CPU time')):
        once, ours, theirs = (statistics.median(t[clock] for t in times[name]) for name in times)
        print(f'{what}: clean evaluation {once:.2f} s')
        print(
            f'  sweep                          {ours:8.2f} s  {ours / (cells * once):.3f} x K x clean'
        )
        print(
            f'  a new model and loader a cell  {theirs:8.2f} s  '
            f'{theirs / (cells * once):.3f} x K x clean, {theirs / ours:.3f} x sweep'
        )


if __name__ == '__main__':
    run(main)
