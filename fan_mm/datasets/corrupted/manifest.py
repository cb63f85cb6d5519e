"""``manifest.json`` and ``checksums/`` of a corrupted dataset: what it was made from and how.

The folder checksums are SHA-256 sums of the files ``checksums/<folder>.sha256``, which list the
SHA-256 sum of every image in the format of the ``sha256sum`` program, sorted by name. Nothing in
them depends on time or machine, so two runs with the same options give the same bytes.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL

from fan_mm import __version__
from fan_mm.corruptions import ALGORITHM_VERSION
from fan_mm.errors import InputError
from fan_mm.fileio import write_whole

SCHEMA = 'fan_mm.corrupted_dataset/1'
MANIFEST = 'manifest.json'
CHECKSUMS = 'checksums'


@dataclass(frozen=True)
class Options:
    """What the bytes of a corrupted dataset depend on, besides its sources and library versions.

    Attributes:
        layout: 'cityscapes', 'coco' or 'imagenet'.
        split: of the clean dataset.
        cells: severities per corruption, in canonical order.
        seed: base seed, see `fan_mm.corruptions.seed_for`.
        channel_order: 'rgb' (physically right) or 'bgr-as-rgb' (as the published FAN and COCO-C
            sets were made).
        file_format: 'png', 'jpg' or 'keep' (the source's).
        quality: JPEG quality, 1 to 100; None for 'png'.
    """

    layout: str
    split: str
    cells: dict[str, tuple[int, ...]]
    seed: int
    channel_order: str
    file_format: str
    quality: int | None

    def cell_list(self) -> list[tuple[str, int]]:
        """All (corruption, severity) in order."""
        return [(name, severity) for name, chosen in self.cells.items() for severity in chosen]


def new_manifest(options: Options, sources: list[str]) -> dict:
    """The manifest of a run that is about to start.

    Args:
        options: of this run.
        sources: relative paths of the clean images, sorted.
    """
    return {
        'schema': SCHEMA,
        'fan_mm': __version__,
        'corruption_version': ALGORITHM_VERSION,
        'versions': {
            'numpy': np.__version__,
            'opencv': cv2.__version__,
            'pillow': PIL.__version__,
        },
        'options': json.loads(json.dumps(asdict(options))),
        'sources': {
            'images': len(sources),
            'sha256': hashlib.sha256('\n'.join(sources).encode()).hexdigest(),
        },
        'complete': False,
        'unreadable': {},
        'folders': {},
    }


def read_manifest(destination: Path) -> dict:
    """Read a corrupted dataset's manifest.

    Raises:
        InputError: there is none, or it is not one.
    """
    path = destination / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        schema = manifest['schema']
    except FileNotFoundError:
        raise InputError(f'no {path}: not made by make_corrupted_dataset.py') from None
    except (ValueError, TypeError, KeyError):
        raise InputError(f'{path} is not a manifest of a corrupted dataset') from None
    if schema != SCHEMA:
        raise InputError(f'{path} has schema {schema}, this fan_mm reads {SCHEMA}')
    return manifest


def write_manifest(destination: Path, manifest: dict) -> None:
    """Write the manifest, whole."""
    write_whole(destination / MANIFEST, json.dumps(manifest, indent=2) + '\n')


def differences(there: dict, now: dict) -> list[str]:
    """What makes two manifests' images differ, one phrase each; empty if they may be mixed.

    Cells that are there and more may be: no image depends on which others are made.
    """
    phrases = []

    def compare(what: str, old: object, new: object) -> None:
        if old != new:
            phrases.append(f'{what} {old} there, {new} now')

    compare('corruption version', there['corruption_version'], now['corruption_version'])
    for library, version in now['versions'].items():
        compare(library, there['versions'].get(library), version)
    for option, value in now['options'].items():
        if option != 'cells':
            compare(option.replace('_', ' '), there['options'].get(option), value)
    fewer = {}  # corruptions, by the severities of both
    for corruption, old in there['options']['cells'].items():
        new = now['options']['cells'].get(corruption, [])
        if not {*old} <= {*new}:
            fewer.setdefault(f'{old} there, {new or "none"} now', []).append(corruption)
    for severities, names in fewer.items():
        more = f' and {len(names) - 3} more' if len(names) > 3 else ''
        phrases.append(f'severities of {", ".join(names[:3])}{more} {severities}')
    if there['sources']['images'] != now['sources']['images']:
        compare('source images', there['sources']['images'], now['sources']['images'])
    elif there['sources'] != now['sources']:
        phrases.append("the source images' names differ")
    return phrases


def write_checksums(destination: Path, folder: str, sums: dict[str, bytes]) -> str:
    """Write one folder's checksum file.

    Args:
        destination: the corrupted dataset's root.
        folder: of one cell, below it.
        sums: SHA-256 digest of every image, by its path below ``folder``.

    Returns:
        The folder's checksum: SHA-256 of the file, in hexadecimal.
    """
    lines = ''.join(f'{sums[name].hex()}  {folder}/{name}\n' for name in sorted(sums)).encode()
    write_whole(destination / CHECKSUMS / f'{folder}.sha256', lines)
    return hashlib.sha256(lines).hexdigest()


def read_checksums(destination: Path, folder: str) -> tuple[dict[str, bytes], str]:
    """Read what `write_checksums` wrote: (digest by path below ``folder``, the folder's checksum).

    A missing file gives an empty dict.
    """
    try:
        data = (destination / CHECKSUMS / f'{folder}.sha256').read_bytes()
    except FileNotFoundError:
        data = b''
    sums = {}
    for line in data.decode().split('\n')[:-1]:  # names may have what else ends lines: U+2028
        digest, path = line.split('  ', 1)
        sums[path[len(folder) + 1 :]] = bytes.fromhex(digest)
    return sums, hashlib.sha256(data).hexdigest()
