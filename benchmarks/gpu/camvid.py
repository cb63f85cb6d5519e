"""FAN beside SegFormer and ResNet-50 on CamVid: `tools/reproduce_camvid.sh`, and how long it took.

Only on request (``run.sh OUT camvid``): it needs the data at data/camvid, numba for one of the corruptions, and about
eight minutes with one of the five severities. If it is stopped by SIGTERM, OUT/camvid contains the measurements
so far. Without a GPU, the commands are only printed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpu import PYTHON
from gpu.results import Results

ROOT = Path(__file__).parents[2]
AT_ONCE = ['--jobs', '5', '--severity', '3', '--', 'test_dataloader.batch_size=32']


def measure(results: Results, small: bool) -> None:
    """Add a row for the script, and one for each model that it has swept."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory() as work:
        try:
            with results.case('tools/reproduce_camvid.sh') as row:
                begin = time.monotonic()
                reproduce(Path(work), ['--dry-run'] if small else AT_ONCE)
                row |= dict(seconds=time.monotonic() - begin, holds=True)
        finally:
            keep(Path(work), results.path.parent / 'camvid')
            for file in sorted(Path(work).glob('*/robustness/results.json')):
                with results.case(file.parts[-3]) as row:
                    row |= scores(json.loads(file.read_text()))


def reproduce(work: Path, options: list[str]) -> None:
    """Run the script; what it says goes to the section's log."""
    script = ROOT / 'tools/reproduce_camvid.sh'
    command = ['bash', script, ROOT / 'data/camvid', '--work-dir', work]
    environment = os.environ | dict(FAN_MM_PYTHON=PYTHON)
    subprocess.run([*map(str, command), *options], env=environment, check=True)


def keep(work: Path, out: Path) -> None:
    """Copy results, the comparison and logs, but no weights, which are too large to come back."""
    for file in [
        *work.glob('*.log'),
        *work.glob('comparison/**/*'),
        *work.glob('*/robustness/results.json'),
    ]:
        if file.is_file():
            target = out / file.relative_to(work)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)


def scores(found: dict) -> dict:
    """The clean score, the mean over corruptions and the share that is kept, with their intervals."""
    summary = found['summary']
    row = {found['metric']['name']: summary['clean']}
    for name in ('mean', 'retention'):
        row[name] = summary[name]['value']
        row[f'{name}, 95 %'] = ' to '.join(f'{end:.1f}' for end in summary[name]['interval'] or [])
    return row | dict(holds=all(cell['status'] == 'done' for cell in found['cells']))
