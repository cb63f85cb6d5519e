"""Packaging of fan_mm; configs and tools travel inside the package as in every OpenMMLab library."""

import os
import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
MIM_CONTENT = ('configs', 'tools', 'model-index.yml')


def link_mim_content() -> None:
    """Put links to configs and tools under ``fan_mm/.mim``, for an editable install."""
    mim = ROOT / 'fan_mm' / '.mim'
    shutil.rmtree(mim, ignore_errors=True)
    mim.mkdir()
    for name in MIM_CONTENT:
        os.symlink(Path('..', '..', name), mim / name, target_is_directory=(ROOT / name).is_dir())


class BuildWithMimContent(build_py):
    """Copies configs and tools to ``fan_mm/.mim`` of what is built, never of the checkout.

    The checkout may be installed editable at the same time: copies in it would go stale.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        mim = Path(self.build_lib, 'fan_mm', '.mim')
        shutil.rmtree(mim, ignore_errors=True)  # an earlier build's
        for name in MIM_CONTENT:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns('__pycache__')
                shutil.copytree(ROOT / name, mim / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, mim / name)


def version() -> str:
    """The version written in ``fan_mm/__init__.py``, read without importing it."""
    for line in (ROOT / 'fan_mm' / '__init__.py').read_text().splitlines():
        if line.startswith('__version__'):
            return line.split("'")[1]
    raise RuntimeError('fan_mm/__init__.py has no __version__')


def pins(*names: str) -> list[str]:
    """The pinned lines of ``requirements.txt`` for some distributions."""
    lines = (ROOT / 'requirements.txt').read_text().splitlines()
    table = {line.split('==')[0]: line for line in lines if line and not line.startswith('#')}
    return [table[name] for name in names]


EXTRAS = {
    'seg': pins('onedl-mmsegmentation', 'ftfy', 'regex'),
    'cls': pins('onedl-mmpretrain'),
    'det': pins('onedl-mmdetection', 'pycocotools'),
    'corruptions': pins('imagecorruptions-imaug'),
}
EXTRAS['export'] = ['onnx>=1.16', 'onnxruntime>=1.18', 'onnxscript>=0.5']
EXTRAS['docs'] = ['mkdocs-material', 'mkdocstrings[python]']
EXTRAS['all'] = sorted({line for lines in EXTRAS.values() for line in lines})
EXTRAS['tests'] = (ROOT / 'requirements' / 'tests.txt').read_text().split()

if __name__ == '__main__':
    if {'develop', 'editable_wheel'} & set(sys.argv):
        link_mim_content()
    setup(
        name='fan_mm',
        version=version(),
        description='Corruption-robust FAN backbones and robustness evaluation for OpenMMLab',
        long_description=(ROOT / 'README.md').read_text(),
        long_description_content_type='text/markdown',
        license='Apache-2.0',
        packages=find_packages(include=['fan_mm', 'fan_mm.*']),
        package_data={'fan_mm': ['py.typed', 'evaluation/data/*', 'report/*.css', 'report/*.js']},
        entry_points={'console_scripts': ['fan-mm = fan_mm.console:main']},
        cmdclass={'build_py': BuildWithMimContent},
        python_requires='>=3.10',
        # Either brand of the stack serves (mmengine and onedl-mmengine share import names), so
        # neither is demanded here; `import fan_mm` says what is missing.
        install_requires=['matplotlib', 'numpy', 'packaging', 'rich', 'scikit-learn', 'scipy'],
        extras_require=EXTRAS,
        zip_safe=False,
    )
