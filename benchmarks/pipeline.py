#!/usr/bin/env python
"""Images per second of the ImageNet pipelines alone, against the training step that they must feed.

    python benchmarks/pipeline.py configs/fan_hybrid_s_imagenet.py --workers 8 --batch-size 64 --amp

For each config, measures the training loader without a model, then the training step (forward, backward,
optimizer; without EMA) on one batch of the same size without a loader. The loader keeps up if the first rate
is higher. By default, images are rendered 500x375 JPEG files, similar to ImageNet's, so no data is needed; with
--data, ImageNet's own are read. A student's teacher has random weights. The paired pipeline decodes and crops
each image once, so its rate is close to that of the plain one. The rates are meaningful only on an idle machine.
"""

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from fan_mm.cli import run, tool_parser
from fan_mm.datasets.scenes import IMAGENET_CLASSES, write_imagenet
from fan_mm.engine import prepare_runtime

SIZE = (375, 500)


def configure(path: str, data: str, args: argparse.Namespace) -> Config:
    """A config that reads the given pictures, prepared to run here."""
    cfg = Config.fromfile(path)
    metainfo = None if args.data else dict(classes=list(IMAGENET_CLASSES))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.update(data_root=data, metainfo=metainfo)
    cfg.train_dataloader.update(batch_size=args.batch_size, num_workers=args.workers)
    if 'teacher' in cfg.model:
        cfg.model.pop('teacher')
    if not args.amp:
        cfg.optim_wrapper.type = 'OptimWrapper'
        cfg.optim_wrapper.pop('loss_scale', None)
    prepare_runtime(cfg, training=False)
    if cfg.optim_wrapper.type == 'AmpOptimWrapper' and not torch.cuda.is_available():
        cfg.optim_wrapper.type = 'CpuAmpOptimWrapper'
        cfg.optim_wrapper.pop('loss_scale', None)
    return cfg


def loader_rate(cfg: Config, seconds: float) -> tuple[float, dict]:
    """Images per second of the training loader alone, and one of its batches."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    batch = next(batches)  # wait until the workers have started
    for _ in range(2 * loader.num_workers):  # skip prefetched batches
        next(batches)
    start, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        next(batches)
        count += len(batch['inputs'])
    return count / elapsed, batch


def step_rate(cfg: Config, batch: dict, steps: int, device: str) -> float:
    """Images per second of the training step alone."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
        model.init_weights()
        wrapper = build_optim_wrapper(model.to(device), cfg.optim_wrapper)
    if cfg.model.type == 'STLStudent':
        from fan_mm.models.classifiers.teacher import Teacher

        options = dict(type='mmpretrain.ImageClassifier', backbone=cfg.model.backbone)
        model.teacher = Teacher(options | dict(head=cfg.model.head), None)
    model.train()

    def step(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            model.train_step(batch, wrapper)
        if device == 'cuda':
            torch.cuda.synchronize()
        return time.perf_counter() - start

    step(2)
    return steps * len(batch['inputs']) / step(steps)


def main() -> None:
    """Measure every config and print a table."""
    parser = tool_parser(__doc__, '')
    parser.add_argument('configs', nargs='+', metavar='CONFIG', help='ImageNet configs')
    parser.add_argument('--data', metavar='DIR', help='ImageNet (default: rendered pictures)')
    parser.add_argument('--images', type=int, default=200, help='rendered pictures (%(default)s)')
    parser.add_argument('--batch-size', type=int, default=32, help='%(default)s')
    parser.add_argument('--workers', type=int, default=2, help='of the loader (%(default)s)')
    parser.add_argument('--seconds', type=float, default=10, help='of the loader (%(default)s)')
    parser.add_argument('--steps', type=int, default=10, help='of training (%(default)s)')
    parser.add_argument('--amp', action='store_true', help='mixed precision, as the recipe has it')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    args = parser.parse_args()
    MMLogger.get_instance('mmengine', log_level='ERROR')
    with tempfile.TemporaryDirectory() as folder:
        data = args.data
        if not data:
            data = str(Path(folder, 'imagenet'))
            write_imagenet(data, SIZE, args.images, len(IMAGENET_CLASSES))
        where = f'{args.workers} workers, batch {args.batch_size}, {args.device}'
        print(f'images/s, {where}, {torch.get_num_threads()} threads of torch')
        print(f'{"config":44}{"loader":>10}{"step":>10}{"loader/step":>14}')
        for path in args.configs:
            cfg = configure(path, data, args)
            loaded, batch = loader_rate(cfg, args.seconds)
            stepped = step_rate(cfg, batch, args.steps, args.device)
            print(f'{Path(path).stem:44}{loaded:10.1f}{stepped:10.1f}{loaded / stepped:14.1f}')


if __name__ == '__main__':
    run(main)
