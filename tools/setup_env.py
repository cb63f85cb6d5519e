"""Makes a working environment and proves it. Standard library only; called by setup_env.sh.

What pip alone gets wrong, and what is done about it:

* mmcv from an index has no compiled ops (or, out of pip's own cache, ops built for another torch): the
  wheel is built here against the installed torch, without build isolation and without pip's cache,
  and kept in the user's cache under a key of everything it depends on.
* Compiled ops are believed only after one NMS has run; otherwise they are built again.
* A torch that is already there and imports is kept.
* OpenCV with a GUI needs libGL, which a fresh server lacks: the headless build replaces it then.
"""

import argparse
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STACKS = {
    'onedl': ('.venv', 'requirements.txt', 'onedl-mmcv'),
    'openmmlab': ('.venv-openmmlab', 'requirements/openmmlab.txt', 'mmcv'),
}
# mmcv and mmpretrain's build scripts need pkg_resources (gone from setuptools 82); onedl-mmcv's
# licence field needs a setuptools of 2025.
BUILD_TOOLS = ['setuptools>=77,<82', 'wheel', 'ninja', 'packaging']
NMS = (
    'import torch; from mmcv.ops import nms; '
    'boxes = torch.tensor([[0., 0., 10., 10.], [1., 1., 10., 10.], [20., 20., 30., 30.]]); '
    'assert nms(boxes, torch.tensor([.9, .8, .7]), .5)[1].tolist() == [0, 2]'
)


class SetupError(Exception):
    """One line for the user."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='tools/setup_env.sh',
        description='Make the environment of fan_mm; the last line printed is the path of its Python.',
        epilog='example: bash tools/setup_env.sh --for tests',
    )
    parser.add_argument(
        '--for',
        dest='purpose',
        choices=['quickstart', 'detection', 'tests'],
        default='quickstart',
        help='detection and tests need compiled mmcv ops (a build of some minutes, once per machine)',
    )
    parser.add_argument(
        '--stack',
        choices=list(STACKS),
        default='onedl',
        help='which brand of the OpenMMLab packages',
    )
    parser.add_argument(
        '--active', action='store_true', help='use the active environment instead of a .venv here'
    )
    parser.add_argument(
        '--torch-index', metavar='URL', help='package index for torch: CPU-only, or another CUDA'
    )
    return parser.parse_args()


def say(text: str) -> None:
    print(f'[setup] {text}', file=sys.stderr, flush=True)


def call(command: list, what: str, env: dict | None = None) -> None:
    """Run a command quietly; on failure show the end of what it printed and stop."""
    with tempfile.TemporaryFile('w+') as log:
        status = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}
        ).returncode
        if status:
            log.seek(0)
            print(''.join(log.readlines()[-30:]), file=sys.stderr)
            raise SetupError(
                f'{what} failed (exit status {status}): {shlex.join(map(str, command))}'
            )


def works(python: Path, code: str) -> bool:
    """Whether a line of Python runs in the environment."""
    return subprocess.run([python, '-c', code], capture_output=True, cwd=ROOT).returncode == 0


def ask(python: Path, code: str) -> str:
    """What a line of Python prints in the environment."""
    done = subprocess.run([python, '-c', code], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SetupError(f'{python} cannot run {code!r}: {done.stderr.strip().splitlines()[-1]}')
    return done.stdout.strip()


def make_venv(folder: Path) -> Path:
    python = folder / 'bin' / 'python'
    if not (python.exists() and works(python, 'import pip')):
        say(f'making {folder.name}')
        call(
            [sys.executable, '-m', 'venv', '--clear', folder],
            'making the environment (Debian, Ubuntu: apt install python3-venv)',
        )
    return python


def pip(python: Path, *arguments: str, what: str, env: dict | None = None) -> None:
    call([python, '-m', 'pip', '--disable-pip-version-check', *arguments], what, env)


def requirement_lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith('#')]


def name_of(requirement: str) -> str:
    return re.split(r'[=<>! ]', requirement)[0]


def install_torch(python: Path, pins: list[str], index: str | None) -> None:
    if works(python, 'import torch, torchvision; torchvision.ops.nms'):
        say(
            'torch '
            + ask(python, 'import torch; print(torch.__version__)')
            + ' is there and is kept'
        )
        return
    say('installing torch (several GB unless --torch-index names a CPU-only index)')
    where = ['--index-url', index] if index else []
    pip(python, 'install', *pins, *where, what='installing torch')
    if not works(python, 'import torch, torchvision; torchvision.ops.nms'):
        raise SetupError(
            'torch was installed but does not import: give a build that fits this machine with --torch-index URL'
        )


def refuse_other_brand(python: Path, stack: str) -> None:
    """Two brands in one environment overwrite each other's files."""
    listed = ask(
        python,
        'from importlib.metadata import distributions\n'
        "print(*{d.metadata['Name'].lower() for d in distributions()})",
    )
    others = {
        'onedl': {'mmengine', 'mmcv', 'mmsegmentation', 'mmpretrain', 'mmdet'},
        'openmmlab': set(),
    }[stack]
    found = sorted(
        name
        for name in listed.split()
        if name in others or (stack == 'openmmlab' and name.startswith('onedl-mm'))
    )
    if found:
        other = next(name for name in STACKS if name != stack)
        raise SetupError(
            f'the active environment has {", ".join(found)}: use --stack {other}, or uninstall them'
        )


def ops_key(python: Path, package: str) -> str:
    """Everything a compiled wheel depends on, as a folder name."""
    torch, cuda = ask(
        python,
        'import torch; cuda = torch.cuda.is_available(); '
        'print(torch.__version__, torch.version.cuda if cuda else "cpu")',
    ).split()
    tag = ask(
        python,
        'import sys, sysconfig; '
        'print(f"cp{sys.version_info[0]}{sys.version_info[1]}-{sysconfig.get_platform()}")',
    )
    archs = (
        os.environ.get('TORCH_CUDA_ARCH_LIST', '').replace(' ', '+').replace(';', '+')
        if cuda != 'cpu'
        else ''
    )
    return '-'.join(
        part for part in (package.replace('==', '-'), tag, f'torch{torch}', cuda, archs) if part
    )


def install_ops(python: Path, package: str) -> None:
    """Leave an mmcv whose ops have been seen to work, out of the cache or newly built."""
    if works(python, NMS):
        say('compiled mmcv ops work (one NMS was run)')
        return
    cache = (
        Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
        / 'fan_mm'
        / 'wheels'
        / ops_key(python, package)
    )
    for wheel in sorted(cache.glob('*.whl')):
        say(f'installing compiled mmcv ops kept in {cache}')
        pip(
            python,
            'install',
            '--no-deps',
            '--force-reinstall',
            '--no-index',
            str(wheel),
            what='installing the kept wheel',
        )
        if works(python, NMS):
            return
        say('the kept wheel does not work here: building it again')
        wheel.unlink()
    if not (shutil.which('g++') or shutil.which('c++') or os.environ.get('CXX')):
        raise SetupError(
            'compiled mmcv ops need a C++ compiler (Debian, Ubuntu: apt install g++ python3-dev)'
        )
    header = ask(python, 'import sysconfig; print(sysconfig.get_path("include"))')
    if not Path(header, 'Python.h').exists():
        raise SetupError(
            'compiled mmcv ops need the headers of Python (Debian, Ubuntu: apt install python3-dev)'
        )
    cores = len(os.sched_getaffinity(0))
    say(
        f'compiling mmcv ops on {cores} cores: about {max(1, round(18 / cores))} minutes, once per machine'
    )
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as built:
        pip(
            python,
            'wheel',
            package,
            '--no-deps',
            '--no-build-isolation',
            '--no-cache-dir',
            '--no-binary',
            name_of(package),
            '-w',
            built,
            what='compiling mmcv ops',
            env={
                'MMCV_WITH_OPS': '1',
                'CFLAGS': '-g0',
                'CXXFLAGS': '-g0',
                'MAX_JOBS': str(cores),
            },
        )
        wheel = next(Path(built).glob('*.whl'))
        cache.mkdir(parents=True, exist_ok=True)
        aside = cache / f'.{os.getpid()}.part'
        shutil.copy(wheel, aside)
        kept = aside.rename(cache / wheel.name)
    pip(
        python,
        'install',
        '--no-deps',
        '--force-reinstall',
        '--no-index',
        str(kept),
        what='installing the compiled wheel',
    )
    if not works(python, NMS):
        kept.unlink()
        raise SetupError(
            f'mmcv was compiled but its NMS does not run: {python} -c {shlex.quote(NMS)}'
        )
    say(
        f'compiled mmcv ops work (one NMS was run); the build took {(time.monotonic() - begin) / 60:.1f} minutes'
    )


def mend_opencv(python: Path, lines: list[str]) -> None:
    if works(python, 'import cv2'):
        return
    say('OpenCV does not import here (no libGL?): the headless build takes its place')
    headless = next(line for line in lines if name_of(line) == 'opencv-python-headless')
    pip(
        python,
        'install',
        '--no-deps',
        '--force-reinstall',
        headless,
        what='installing headless OpenCV',
    )
    if not works(python, 'import cv2'):
        raise SetupError(f'OpenCV does not import: {python} -c "import cv2"')


def main() -> None:
    options = parse()
    folder, requirements, mmcv = STACKS[options.stack]
    if options.active:
        if sys.prefix == sys.base_prefix and 'CONDA_PREFIX' not in os.environ:
            raise SetupError('--active: no virtual or conda environment is active')
        python, stamp = Path(sys.executable), Path(sys.prefix, '.fan_mm-setup')
        refuse_other_brand(python, options.stack)
    else:
        python, stamp = make_venv(ROOT / folder), ROOT / folder / '.fan_mm-setup'
    files = [ROOT / requirements, ROOT / 'setup.py', Path(__file__)]
    if options.purpose == 'tests':
        files.append(ROOT / 'requirements' / 'tests.txt')
    with_ops = options.purpose != 'quickstart' or options.stack == 'openmmlab'

    fingerprint = hashlib.sha256(
        b'\0'.join(file.read_bytes() for file in files) + str(ROOT).encode()
    ).hexdigest()
    done = stamp.read_text().split() if stamp.exists() else []
    token = f'{options.purpose}:{fingerprint}'
    if token in done and works(python, NMS if with_ops else 'import fan_mm, mmseg.models'):
        say(f'{options.purpose}: everything is there')
        print(python)
        return

    lines = requirement_lines(ROOT / requirements)
    pip(python, 'install', '--upgrade', *BUILD_TOOLS, what='installing the build tools')
    torch_pins = [line for line in lines if name_of(line) in ('torch', 'torchvision')]
    install_torch(python, torch_pins, options.torch_index)
    mmcv_pin = next(line for line in lines if name_of(line) == mmcv)
    others = [
        line
        for line in lines
        if name_of(line) not in ('torch', 'torchvision') and not (with_ops and line == mmcv_pin)
    ]
    if options.purpose == 'tests':
        others += requirement_lines(ROOT / 'requirements' / 'tests.txt')
    say(f'installing the rest of {requirements}')
    pip(python, 'install', *others, what=f'installing {requirements}')
    mend_opencv(python, lines)
    if with_ops:
        install_ops(python, mmcv_pin)
    pip(
        python,
        'install',
        '--no-deps',
        '--no-build-isolation',
        '-e',
        str(ROOT),
        what='installing fan_mm',
    )
    for proof in ('import fan_mm', 'import mmseg.models', *([NMS] if with_ops else [])):
        if not works(python, proof):
            raise SetupError(f'the environment is not right: {python} -c {shlex.quote(proof)}')
    stamp.write_text(
        '\n'.join([*(line for line in done if line.split(':')[0] != options.purpose), token])
    )
    say(f'{options.purpose}: ready')
    print(python)


if __name__ == '__main__':
    try:
        main()
    except SetupError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print('stopped; run it again to go on', file=sys.stderr)
        sys.exit(130)
