"""The tools as a user runs them: training stopped and resumed, then a sweep, on rendered scenes.

Training is ``tools/train.py --launcher pytorch --amp`` in one process: NCCL, SyncBN and float16 with loss
scaling on a GPU, gloo and bfloat16 without one.
"""

import json
import os
import signal
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch

from fan_mm.datasets.scenes import write_cityscapes
from fan_mm.engine.resume import newest_checkpoint
from gpu import PYTHON
from gpu.results import Results

ROOT = Path(__file__).parents[2]
FULL = dict(
    config='configs/fan_hybrid_s_cityscapes.py',
    scenes=((1024, 2048), 16, 32),  # size, to train on, to test on
    iterations=40,
    interval=10,  # between two checkpoints
    workers=8,
    corruptions=['gaussian_noise', 'motion_blur', 'fog', 'jpeg_compression'],
)
SMALL = dict(
    config='configs/fan_hybrid_toy_cityscapes.py',
    scenes=((64, 128), 8, 4),
    iterations=16,
    interval=4,
    workers=0,
    corruptions=['fog'],
)


def measure(results: Results, small: bool) -> None:
    """Add a row for the training that is stopped, the one that goes on, and the sweep."""
    plan = SMALL if small else FULL
    with tempfile.TemporaryDirectory() as folder:
        data, work = Path(folder, 'data'), Path(folder, 'work')
        write_cityscapes(data, *plan['scenes'])
        with results.case('training, stopped') as row:
            row |= stopped(plan, data, work)
        with results.case('training, resumed') as row:
            row |= resumed(plan, data, work)
        with results.case(f'sweep, {Path(plan["config"]).stem}') as row:
            row |= swept(plan, data, work)


def start(tool: str, plan: dict, data: Path, work: Path, *arguments: object) -> subprocess.Popen:
    """Start a tool in the one process of its group; its output goes to ``work``.log."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    group = dict(RANK=0, LOCAL_RANK=0, WORLD_SIZE=1, MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    options = [
        f'{loader}_dataloader.dataset.data_root={data}/' for loader in ('train', 'val', 'test')
    ]
    options += [
        f'{loader}_dataloader.num_workers={plan["workers"]}' for loader in ('train', 'val', 'test')
    ]
    options += [
        f'train_cfg.max_iters={plan["iterations"]}',
        f'train_cfg.val_interval={plan["iterations"]}',
        f'default_hooks.checkpoint.interval={plan["interval"]}',
        'default_hooks.logger.interval=1',
        'train_dataloader.batch_size=2',
        'model.backbone.norm_cfg.type=SyncBN',
        'model.decode_head.norm_cfg.type=SyncBN',
    ]
    command = [PYTHON, ROOT / 'tools' / tool, ROOT / plan['config'], *arguments]
    command += ['--work-dir', work, '--launcher', 'pytorch', '--cfg-options', *options]
    with Path(f'{work}.log').open('a') as log:
        return subprocess.Popen(
            list(map(str, command)),
            env=os.environ | {key: str(value) for key, value in group.items()},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def log_of(work: Path) -> str:
    """What the tools have printed."""
    return Path(f'{work}.log').read_text()


def succeeded(process: subprocess.Popen, work: Path) -> None:
    """Wait for a tool; if it fails, raise its last line."""
    if process.wait():
        print(log_of(work))
        raise RuntimeError(f'exit status {process.returncode}: {log_of(work).splitlines()[-1]}')


def stopped(plan: dict, data: Path, work: Path) -> dict:
    """Train, and stop with SIGTERM after the first checkpoint, as a batch system does."""
    process = start('train.py', plan, data, work, '--amp')
    while not (work / 'last_checkpoint').exists():
        if process.poll() is not None:
            succeeded(process, work)
            raise RuntimeError('training ended without a checkpoint')
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.wait()
    done = max(losses(work))
    return dict(iterations=done, holds=plan['interval'] <= done < plan['iterations'])


def resumed(plan: dict, data: Path, work: Path) -> dict:
    """Resume to the end; every loss must be finite, and the config the one for this device."""
    # not as last_checkpoint says: the stop may have come while that was written
    checkpoint, _ = newest_checkpoint(work)
    done = int(checkpoint.stem.split('_')[1])
    succeeded(start('train.py', plan, data, work, '--amp', '--resume'), work)
    rows = losses(work)
    went_on = f'iteration {done}' in log_of(work) and list(rows) == list(
        range(1, plan['iterations'] + 1)
    )
    finite = all(torch.isfinite(torch.tensor(row['loss'])) for row in rows.values())
    (config,) = sorted(work.glob('*/vis_data/config.py'))[-1:]
    cuda = torch.cuda.is_available()
    as_wanted = all(
        word in config.read_text()
        for word in (
            ("'nccl'", "'SyncBN'", "'AmpOptimWrapper'") if cuda else ("'CpuAmpOptimWrapper'",)
        )
    )
    later = [row for iteration, row in rows.items() if iteration > done]
    row = {'iterations': len(rows), 'last loss': rows[plan['iterations']]['loss']}
    row['ms'] = 1000 * statistics.median(entry['time'] for entry in later)
    if 'memory' in later[-1]:
        row['peak MiB'] = later[-1]['memory']
    return row | dict(holds=went_on and finite and as_wanted)


def losses(work: Path) -> dict[int, dict]:
    """Iteration -> what was logged, by the latest run."""
    rows = {}
    for path in sorted(work.glob('*/vis_data/scalars.json')):
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        rows |= {entry['iter']: entry for entry in entries if 'loss' in entry}
    return dict(sorted(rows.items()))


def swept(plan: dict, data: Path, work: Path) -> dict:
    """Images per second of the corrupted cells, and the idle share of the GPU."""
    checkpoint = work / f'iter_{plan["iterations"]}.pth'
    chosen = ['--corruptions', *plan['corruptions'], '--severities', 3]
    folder = work / 'robustness'
    process = start('test_corruption.py', plan, data, folder, checkpoint, *chosen)
    cells, busy = 1 + len(plan['corruptions']), []
    while process.poll() is None:
        if 1 <= len([*folder.glob('cells/*.json')]) < cells:  # behind the clean one, which warms up
            busy.append(utilization())
        time.sleep(0.1)
    succeeded(process, folder)
    results = json.loads((folder / 'results.json').read_text())
    seconds = [cell['seconds'] for cell in results['cells'] if cell['corruption'] != 'clean']
    images = results['dataset']['samples']
    row = {'cells': cells, 'images': images}
    row['images/s'] = images * len(seconds) / sum(seconds)
    known = [share for share in busy if share is not None]
    row['idle share of the GPU'] = 1 - statistics.mean(known) if known else 'unknown'
    return row | dict(holds=all(cell['status'] == 'done' for cell in results['cells']))


def utilization() -> float | None:
    """Share of the last moments in which the GPU was busy; None without a GPU or NVML."""
    try:
        return torch.cuda.utilization() / 100
    except Exception:  # NVML's own, of a package that may not be there
        return None
