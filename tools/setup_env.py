"""Create a working environment and verify it. Standard library only; called by setup_env.sh.

Solves problems that pip alone does not:

* mmcv from an index has no compiled ops (or, from pip's cache, ops built for another torch): the
  wheel is built here against the installed torch, without build isolation and without pip's cache,
  and cached for the user under a key of everything it depends on.
* Compiled ops are used only if an NMS runs, on the GPU if there is one; otherwise they are rebuilt.
* An installed torch that can be imported is kept, except for one from another index in the checkout's
  own .venv.
* If the driver is too old for torch's CUDA, torch silently runs on the CPU: this is reported.
* OpenCV with a GUI needs libGL, which new servers lack: it is replaced by the headless build.
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
# The build scripts of mmcv and mmpretrain need pkg_resources (removed in setuptools 82); the licence
# field of onedl-mmcv needs a setuptools of 2025.
BUILD_TOOLS = ['setuptools>=77,<82', 'wheel', 'ninja', 'packaging']
NMS = (
    'import torch; from mmcv.ops import nms; '
    'device = "cuda" if torch.cuda.is_available() else "cpu"; '
    'boxes = [[0., 0., 10., 10.], [1., 1., 10., 10.], [20., 20., 30., 30.]]; '
    'boxes, scores = (torch.tensor(values, device=device) for values in (boxes, [.9, .8, .7])); '
    'assert nms(boxes, scores, .5)[1].tolist() == [0, 2]'
)
VISION = 'import torch, torchvision; torchvision.ops.nms'
# without importing mmcv, whose dependencies may be missing
HAS_OPS = (
    'from importlib.util import find_spec; from pathlib import Path; '
    'assert [*Path(find_spec("mmcv").origin).parent.glob("_ext*")]'
)
# Without TORCH_CUDA_ARCH_LIST, torch compiles for the architectures of the visible GPUs.
CARDS = (
    'import torch; count = torch.cuda.device_count() if torch.cuda.is_available() else 0; '
    'cards = sorted({torch.cuda.get_device_capability(card) for card in range(count)}); '
    'print(torch.__version__, torch.version.cuda, *("%d.%d" % card for card in cards))'
)
NO_GPU = """
import torch
if torch.version.cuda:
    try:
        torch.cuda.init()
    except Exception as error:
        print(f'torch for CUDA {torch.version.cuda} says: {error}'.split('. ')[0])
"""
DRIVER = Path('/proc/driver/nvidia/version')


class SetupError(Exception):
    """An error that is shown to the user in one line."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='tools/setup_env.sh',
        description='Create the environment for fan_mm; the last line printed is the path of its Python.',
        epilog='example: bash tools/setup_env.sh --for tests',
    )
    parser.add_argument(
        '--for',
        dest='purpose',
        choices=['quickstart', 'detection', 'tests'],
        default='quickstart',
        help='purpose of the environment; detection and tests need compiled mmcv ops (a build of several minutes, '
        'once per machine)',
    )
    parser.add_argument(
        '--stack',
        choices=list(STACKS),
        default='onedl',
        help='which OpenMMLab packages: the onedl forks or the originals (default: onedl)',
    )
    parser.add_argument(
        '--active',
        action='store_true',
        help='use the active environment instead of a .venv in the checkout',
    )
    parser.add_argument(
        '--torch-index',
        metavar='URL',
        help='package index for torch: CPU-only, or another CUDA; with --active, an installed torch is kept',
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
        say(f'creating {folder.name}')
        call(
            [sys.executable, '-m', 'venv', '--clear', folder],
            'creating the environment (Debian, Ubuntu: apt install python3-venv)',
        )
    return python


def pip(python: Path, *arguments: str, what: str, env: dict | None = None) -> None:
    call([python, '-m', 'pip', '--disable-pip-version-check', *arguments], what, env)


def reinstall(python: Path, *arguments: str, what: str) -> None:
    pip(python, 'install', '--no-deps', '--force-reinstall', *arguments, what=what)


def requirement_lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line and not line.startswith('#')]


def name_of(requirement: str) -> str:
    return re.split(r'[=<>! ]', requirement)[0]


def install_torch(python: Path, pins: list[str], index: str | None, again: bool) -> None:
    """Leave a torch that imports (the one that is there, unless it is to come again) and its torchvision."""
    where = ['--index-url', index] if index else []
    if not again and works(python, 'import torch'):
        version = ask(python, 'import torch; print(torch.__version__)')
        say(f'torch {version} is installed and is kept')
        if works(python, VISION):
            return
        say('installing the matching torchvision')
        # pip's version of torch may lack the suffix (+cu130) of torch.__version__.
        known = ask(python, 'from importlib.metadata import version; print(version("torch"))')
        # A torchvision with the right version may be built for another torch.
        pip(python, 'uninstall', '--yes', 'torchvision', what='removing torchvision')
        pip(
            python,
            'install',
            'torchvision',
            f'torch=={known}',
            *where,
            what='installing torchvision',
        )
    else:
        say('installing torch (several GB unless --torch-index names a CPU-only index)')
        if again:  # pip considers the same version from another index as already installed
            reinstall(python, *pins, *where, what='installing torch')
        pip(python, 'install', *pins, *where, what='installing torch')
    for module, proof in (('torch', 'import torch'), ('torchvision', VISION)):
        if not works(python, proof):
            raise SetupError(
                f'{module} was installed but does not import: choose a build that fits this machine '
                'with --torch-index URL'
            )


def warn_of_driver(python: Path) -> None:
    """Say why torch does not get the GPU of a driver that is there."""
    if not DRIVER.exists() or os.environ.get('CUDA_VISIBLE_DEVICES') in ('', '-1'):
        return
    if reason := ask(python, NO_GPU):
        driver = ' '.join(re.findall(r'\d+\.[\d.]+', DRIVER.read_text())[:1])
        say(
            f'warning: everything will run on the CPU: NVIDIA driver {driver} is installed, but {reason} '
            '(--torch-index URL installs torch from an index for an older CUDA)'
        )


def refuse_other_brand(python: Path, stack: str) -> None:
    """Two brands in one environment overwrite each other's files."""
    listed = ask(
        python,
        'from importlib.metadata import distributions\n'
        "print(*{d.metadata['Name'].lower() for d in distributions()})",
    )
    originals = {'mmengine', 'mmcv', 'mmsegmentation', 'mmpretrain', 'mmdet'}
    found = sorted(
        name
        for name in listed.split()
        if (name in originals if stack == 'onedl' else name.startswith('onedl-mm'))
    )
    if found:
        other = next(name for name in STACKS if name != stack)
        raise SetupError(
            f'the active environment has {", ".join(found)}: use --stack {other}, or uninstall them'
        )


def cuda_forced() -> bool:
    """Whether CUDA ops are wanted even without a GPU (mmcv's own variable)."""
    return os.environ.get('FORCE_CUDA') == '1'


def ops_target(python: Path) -> tuple[str, str, str]:
    """The torch, the CUDA (or 'cpu') and the architectures that ops are compiled for."""
    torch, cuda, *cards = ask(python, CARDS).split()
    if not (cards or cuda_forced()):
        return torch, 'cpu', ''
    archs = os.environ.get('TORCH_CUDA_ARCH_LIST', '').replace(';', ' ').split() or cards
    if not archs or (cuda == 'None' and not cards):
        raise SetupError(
            'FORCE_CUDA=1 without a GPU needs a torch with CUDA (see --torch-index) and '
            f'TORCH_CUDA_ARCH_LIST, such as "8.0;9.0": torch is {torch}, the list is {archs}'
        )
    return torch, cuda, '+'.join(archs)


def ops_key(python: Path, package: str) -> str:
    """Everything a compiled wheel depends on, as a folder name."""
    torch, cuda, archs = ops_target(python)
    tag = ask(
        python,
        'import sys, sysconfig; '
        'print(f"cp{sys.version_info[0]}{sys.version_info[1]}-{sysconfig.get_platform()}")',
    )
    return '-'.join(
        part for part in (package.replace('==', '-'), tag, f'torch{torch}', cuda, archs) if part
    )


def need_toolkit(python: Path) -> None:
    """CUDA ops need the compiler and headers of torch's own CUDA, which a driver does not bring."""
    cuda = ops_target(python)[1]
    if cuda in ('cpu', 'None'):  # None: torch for AMD's GPUs
        return
    found = ask(python, 'from torch.utils.cpp_extension import CUDA_HOME; print(CUDA_HOME or "")')
    home = Path(found or '/usr/local/cuda')
    nvcc = home / 'bin' / 'nvcc'
    if not nvcc.exists():
        missing = f'{nvcc} does not exist'
    else:
        printed = subprocess.run([nvcc, '--version'], capture_output=True, text=True).stdout
        release = re.search(r'release ([\d.]+)', printed)
        if release and release[1].split('.')[0] != cuda.split('.')[0]:
            missing = f'{nvcc} is of CUDA {release[1]}'
        elif not [*home.glob('include/cusparse.h'), *home.glob('targets/*/include/cusparse.h')]:
            missing = f'{home}/include has no cusparse.h'
        else:
            return
    raise SetupError(
        f'mmcv ops for a GPU need the CUDA {cuda} toolkit, but {missing}: install that '
        'toolkit (set CUDA_HOME to its folder), or put CUDA_VISIBLE_DEVICES= before this command '
        '(and leave out FORCE_CUDA) for ops and runs on the CPU'
    )


def install_ops(python: Path, package: str) -> None:
    """Leave an mmcv whose ops have been seen to work, out of the cache or newly built."""
    # With FORCE_CUDA and without a GPU, running an NMS does not test CUDA: only a wheel's key is reliable.
    believed = not cuda_forced() or works(python, 'import torch; torch.cuda.init()')
    if believed and works(python, NMS):
        say('compiled mmcv ops work (tested with one NMS)')
        return
    cache = (
        Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
        / 'fan_mm'
        / 'wheels'
        / ops_key(python, package)
    )
    for wheel in sorted(cache.glob('*.whl')):
        say(f'installing compiled mmcv ops from {cache}')
        reinstall(python, '--no-index', str(wheel), what='installing the cached wheel')
        if works(python, NMS):
            return
        say('the cached wheel does not work here: building it again')
        wheel.unlink()
    if not (shutil.which('g++') or shutil.which('c++') or os.environ.get('CXX')):
        raise SetupError(
            'compiled mmcv ops need a C++ compiler (Debian, Ubuntu: apt install g++ python3-dev)'
        )
    header = ask(python, 'import sysconfig; print(sysconfig.get_path("include"))')
    if not Path(header, 'Python.h').exists():
        raise SetupError(
            'compiled mmcv ops need the Python headers (Debian, Ubuntu: apt install python3-dev)'
        )
    need_toolkit(python)
    cache.mkdir(parents=True, exist_ok=True)
    cores = int(os.environ.get('MAX_JOBS') or len(os.sched_getaffinity(0)))
    say(
        f'compiling mmcv ops on {cores} cores: about {max(1, round(18 / cores))} minutes '
        '(longer for CUDA), once per machine'
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
        aside = cache / f'.{os.getpid()}.part'
        shutil.copy(wheel, aside)
        kept = aside.rename(cache / wheel.name)
    reinstall(python, '--no-index', str(kept), what='installing the compiled wheel')
    if not works(python, NMS):
        kept.unlink()
        raise SetupError(
            f'mmcv was compiled but its NMS does not run: {python} -c {shlex.quote(NMS)}'
        )
    say(
        f'compiled mmcv ops work (tested with one NMS); the build took {(time.monotonic() - begin) / 60:.1f} minutes'
    )


def mend_opencv(python: Path, lines: list[str]) -> None:
    if works(python, 'import cv2'):
        return
    say('OpenCV does not import (no libGL?): installing the headless build instead')
    headless = next(line for line in lines if name_of(line) == 'opencv-python-headless')
    reinstall(python, headless, what='installing headless OpenCV')
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

    forced = os.environ.get('TORCH_CUDA_ARCH_LIST', '') if cuda_forced() else None
    fingerprint = hashlib.sha256(
        b'\0'.join(file.read_bytes() for file in files) + f'{ROOT} {forced}'.encode()
    ).hexdigest()
    done = stamp.read_text().split() if stamp.exists() else []
    token = f'{options.purpose}:{fingerprint}'
    index = f'torch:{options.torch_index}'
    other_torch = bool(options.torch_index) and not options.active and index not in done
    if (
        token in done
        and not other_torch
        and works(python, NMS if with_ops else 'import fan_mm, mmseg.models')
    ):
        warn_of_driver(python)
        say(f'{options.purpose}: everything is installed')
        print(python)
        return

    lines = requirement_lines(ROOT / requirements)
    pip(python, 'install', '--upgrade', *BUILD_TOOLS, what='installing the build tools')
    torch_pins = [line for line in lines if name_of(line) in ('torch', 'torchvision')]
    install_torch(python, torch_pins, options.torch_index, other_torch)
    if other_torch:
        done = [index]
        stamp.write_text(index)
    warn_of_driver(python)
    # Outdated ops, built for an earlier purpose, would break every import of mmcv.ops.
    with_ops = with_ops or (works(python, HAS_OPS) and not works(python, NMS))
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
            raise SetupError(f'the environment does not work: {python} -c {shlex.quote(proof)}')
    stamp.write_text(
        '\n'.join([*(line for line in done if line.split(':')[0] != options.purpose), token])
    )
    say(f'{options.purpose}: ready')
    print(python)


if __name__ == '__main__':
    try:
        main()
    except (SetupError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print('stopped; run it again to continue', file=sys.stderr)
        sys.exit(130)
