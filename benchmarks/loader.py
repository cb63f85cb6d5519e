"""What a sweep's loader costs per picture and cell, with pictures kept from cell to cell and without."""

import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from fan_mm.corruptions import BENCHMARKS
from fan_mm.datasets.scenes import IMAGENET_CLASSES, write_imagenet
from fan_mm.datasets.transforms import CorruptImage
from fan_mm.evaluation.cell_dataset import CellBatches, CellDataset, loader_like
from fan_mm.evaluation.cells import CLEAN, Cell
from fan_mm.evaluation.loading.image_cache import kept_images
from fan_mm.evaluation.pipelines import on_the_fly, with_cells
from fan_mm.images import SUFFIXES


class TimedCorruption(CorruptImage):
    """Measures the CPU time of the corruption itself."""

    seconds = 0.0

    def transform(self, results: dict) -> dict:
        """Corrupt, and count."""
        start = time.process_time()
        results = super().transform(results)
        TimedCorruption.seconds += time.process_time() - start
        return results


def pictures(root: Path, photos: str | None, count: int) -> list[Path]:
    """Files of somebody's photos; without a folder of them, rendered scenes."""
    if photos is None:
        classes = len(IMAGENET_CLASSES)
        write_imagenet(str(root), (375, 500), -(-count // classes) * classes, classes)
    files = [f for f in sorted(Path(photos or root).rglob('*')) if f.suffix.lower() in SUFFIXES]
    return files[:: max(1, len(files) // count)][:count]


def imagenet(root: Path, files: list[Path]) -> ConfigDict:
    """JPEG pictures of 375x500, as ImageNet's are on average, and the pipeline of FAN's configs."""
    for number, file in enumerate(files):
        picture = cv2.resize(cv2.imread(str(file)), (500, 375), interpolation=cv2.INTER_CUBIC)
        path = root / 'imagenet' / 'a' / f'{number}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
        dict(type='CenterCrop', crop_size=224),
        dict(type='PackInputs'),
    ]
    return dict(type='CustomDataset', data_root=str(root / 'imagenet'), pipeline=pipeline)


def cityscapes(root: Path, files: list[Path]) -> ConfigDict:
    """PNG pictures of 1024x2048 with label maps, and the pipeline of Cityscapes."""
    for number, file in enumerate(files):
        photo = cv2.resize(cv2.imread(str(file)), (2048, 1024), interpolation=cv2.INTER_LANCZOS4)
        # areas with edges, of about the 50 KB that Cityscapes's label maps have
        areas = cv2.resize(photo[..., 1], (256, 128), interpolation=cv2.INTER_AREA) // 32
        label = cv2.resize(areas, (2048, 1024), interpolation=cv2.INTER_NEAREST)
        for folder, suffix, array in (
            ('leftImg8bit', 'leftImg8bit', photo),
            ('gtFine', 'gtFine_labelTrainIds', label),
        ):
            path = root / folder / 'town' / f'town_{number:06d}_000019_{suffix}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), array)
    return dict(
        type='CityscapesDataset',
        data_root=str(root),
        data_prefix=dict(img_path='leftImg8bit', seg_map_path='gtFine'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(2048, 1024), keep_ratio=True),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
    )


def _seconds(loader: DataLoader) -> Iterator[tuple[float, int]]:
    """CPU seconds of each batch, and a checksum of its pictures."""
    batches = iter(loader)
    while True:
        start = time.process_time()
        batch = next(batches, None)
        seconds = time.process_time() - start
        if batch is None:
            return
        yield seconds, zlib.crc32(b''.join(np.ascontiguousarray(x) for x in batch['inputs']))


def measure(scope: str, dataset: ConfigDict, severity: int) -> dict[str, float]:
    """CPU milliseconds per picture and cell, without cache and kept, and of those the corruption's."""
    init_default_scope(scope)
    collate = dict(type='pseudo_collate' if scope == 'mmseg' else 'default_collate')
    sampler = dict(type='DefaultSampler', shuffle=False)
    loader = Runner.build_dataloader(
        dict(batch_size=1, num_workers=0, sampler=sampler, collate_fn=collate, dataset=dataset)
    )
    name = 'cityscapes-c' if scope == 'mmseg' else 'imagenet-c'
    cells = [CLEAN, *(Cell(c, severity) for c in BENCHMARKS[name].severities)]
    copied = with_cells(loader.dataset, lambda: TimedCorruption('clean'), on_the_fly)
    swept = CellDataset(*copied, cells, list(range(len(loader.dataset))))
    count = len(swept.samples)

    def run(of: range) -> tuple[float, float, list[int]]:
        TimedCorruption.seconds = 0.0
        batches = CellBatches(of, count, 1, 0, 1)
        found = list(_seconds(loader_like(loader, swept, batches)))
        scale = 1000 / (len(of) * count)
        times = sum(seconds for seconds, _ in found) * scale, TimedCorruption.seconds * scale
        return *times, [checksum for _, checksum in found]

    others = range(1, len(cells))
    run(others)  # warm-up: tables of the corruptions, file system cache
    without, corrupting, seen = run(others)
    with kept_images(swept):
        filling, _, _ = run(range(1))
        kept, corrupting_kept, again = run(others)
    assert seen == again, 'pictures differ with the image cache'
    return dict(
        without=without,
        corrupting=corrupting / without,
        kept=kept,
        corrupting_kept=corrupting_kept / kept,
        filling=filling,
    )


def print_costs(root: Path, photos: str | None, count: int, severity: int) -> None:
    """Measure and print both: ImageNet's pictures at 224, Cityscapes's at 1024x2048."""
    import mmpretrain.datasets  # noqa: F401  (registration)
    import mmseg.datasets  # noqa: F401  (registration)

    cv2.setNumThreads(0)
    files = pictures(root / 'rendered', photos, count)
    print(
        f'loader alone: {len(files)} {"photos" if photos else "rendered pictures"}, every corruption of the benchmark '
        f'at severity {severity}, CPU ms per picture and cell, one thread'
    )
    print(f'  {"":24}{"without":>9}{"kept":>9}{"times less":>12}{"corruption takes":>20}')
    for name, scope, make in (
        ('224, JPEG of 375x500', 'mmpretrain', imagenet),
        ('1024x2048, PNG', 'mmseg', cityscapes),
    ):
        found = measure(scope, make(root / scope, files), severity)
        shares = f'{found["corrupting"]:.0%} -> {found["corrupting_kept"]:.0%}'
        print(
            f'  {name:24}{found["without"]:9.2f}{found["kept"]:9.2f}'
            f'{found["without"] / found["kept"]:12.2f}{shares:>20}'
            f'   (the cell that fills it: {found["filling"]:.2f})'
        )
