r"""``manifest.json`` and ``checksums/`` of a corrupted dataset: what it was made from and how.

The folder checksums are SHA-256 sums of the files ``checksums/<folder>.sha256``, which list the
SHA-256 sum of every image in the format of the ``sha256sum`` program, sorted by name. Nothing in
them depends on time or machine, so two runs with the same options give the same bytes.

Names stand there as the bytes that they are on disk, which need be no UTF-8; in ``manifest.json`` such
a byte is ``\udcff``, as JSON writes what Python reads. A line with a line break in its name begins with a
backslash, as ``sha256sum`` writes it, and has ``\n`` for the break and two backslashes for each one.

``checksums/sources.txt`` lists SHA-256 sum, size in bytes and name of every clean image that was
read. A line is there before the first copy of its image, so a changed image is known after a kill
too.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import PIL

from fan_mm import __version__
from fan_mm.corruptions import ALGORITHM_VERSION
from fan_mm.errors import InputError
from fan_mm.few_names import few_and_more
from fan_mm.fileio import write_whole

SCHEMA = 'fan_mm.corrupted_dataset/1'
MANIFEST = 'manifest.json'
CHECKSUMS = 'checksums'
SOURCES = 'sources.txt'


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
            'sha256': hashlib.sha256(_name_bytes('\n'.join(sources))).hexdigest(),
        },
        'complete': False,
        'unreadable': {},
        'folders': {},
    }


def read_manifest(destination: Path) -> dict:
    """Read a corrupted dataset's manifest.

    Raises:
        InputError: there is none, it is not one, or lacks parts.
    """
    path = destination / MANIFEST
    try:
        manifest = json.loads(path.read_text())
        schema = manifest['schema']
    except FileNotFoundError:
        raise InputError(
            f'no {path}: the dataset was not made by make_corrupted_dataset.py'
        ) from None
    except (ValueError, TypeError, KeyError):
        raise InputError(
            f'{path} is not a manifest of a corrupted dataset: choose another folder'
        ) from None
    if schema != SCHEMA:
        raise InputError(f'{path} has schema {schema}, this fan_mm reads {SCHEMA}')
    if lacking := _lacking(manifest):
        raise InputError(f'damaged: {path} (no valid {lacking})')
    return manifest


def _lacking(manifest: dict) -> str | None:
    """The first part that a manifest lacks, or that has the wrong type."""
    parts = {
        'corruption_version': str,
        'versions': dict,
        'options': dict,
        'sources': dict,
        'complete': bool,
        'unreadable': dict,
        'folders': dict,
    }
    for name, kind in parts.items():
        if not isinstance(manifest.get(name), kind):
            return name
    cells = manifest['options'].get('cells')
    lists = isinstance(cells, dict) and all(isinstance(c, list) for c in cells.values())
    if not lists or not all(isinstance(s, int) for c in cells.values() for s in c):
        return 'options.cells'
    if not {'images', 'sha256'} <= manifest['sources'].keys():
        return 'sources'
    for folder, entry in manifest['folders'].items():
        if not isinstance(entry, dict) or not isinstance(entry.get('sha256'), str):
            return f'folders.{folder}'
    return None


def write_manifest(destination: Path, manifest: dict) -> None:
    """Write the manifest, whole."""
    write_whole(destination / MANIFEST, json.dumps(manifest, indent=2) + '\n')


def differences(there: dict, now: dict) -> list[str]:
    """How two manifests differ such that their images must not be mixed, one phrase each.

    Additional cells are no difference: no image depends on which others are made.
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
    fewer: dict[str, list[str]] = {}  # corruptions, by the severities of both
    for corruption, old in there['options']['cells'].items():
        new = now['options']['cells'].get(corruption, [])
        if not {*old} <= {*new}:
            fewer.setdefault(f'{old} there, {new or "none"} now', []).append(corruption)
    for severities, names in fewer.items():
        phrases.append(f'severities of {few_and_more(names)} {severities}')
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
    lines = b''.join(_line(f'{sums[name].hex()}  ', f'{folder}/{name}') for name in sorted(sums))
    write_whole(destination / CHECKSUMS / f'{folder}.sha256', lines)
    return hashlib.sha256(lines).hexdigest()


def read_checksums(destination: Path, folder: str) -> tuple[dict[str, bytes], str]:
    """Read what `write_checksums` wrote: (digest by path below ``folder``, the folder's checksum).

    A missing file gives an empty dict.

    Raises:
        InputError: the file is damaged.
    """
    path = destination / CHECKSUMS / f'{folder}.sha256'
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b''
    sums = {}
    try:
        for line in data.split(b'\n')[:-1]:
            digest, name = _fields(line, 2)
            sums[name[len(folder) + 1 :]] = _sha256(digest)
    except ValueError:
        raise _damaged(path) from None
    return sums, hashlib.sha256(data).hexdigest()


class Source(NamedTuple):
    """The content of a clean image."""

    size: int
    sha256: bytes


def add_source(destination: Path, name: str, source: Source) -> None:
    """Record the state of a clean image before copies are made of it, from any process."""
    path = destination / CHECKSUMS / SOURCES
    path.parent.mkdir(exist_ok=True)
    with open(path, 'ab', buffering=0) as file:
        file.write(_source_line(name, source))


def write_sources(destination: Path, sources: Mapping[str, Source]) -> None:
    """Rewrite the records of the clean images, sorted by name."""
    lines = b''.join(_source_line(name, sources[name]) for name in sorted(sources))
    write_whole(destination / CHECKSUMS / SOURCES, lines)


def read_sources(destination: Path) -> dict[str, Source] | None:
    """The recorded state of the clean images; None if there is no record, as in earlier versions.

    Raises:
        InputError: the file is damaged.
    """
    path = destination / CHECKSUMS / SOURCES
    try:
        lines = path.read_bytes().split(b'\n')[:-1]  # the last one may be cut short by a power cut
    except FileNotFoundError:
        return None
    sources: dict[str, Source] = {}
    try:
        for line in lines:
            digest, size, name = _fields(line, 3)
            sources[name] = Source(int(size), _sha256(digest))
    except ValueError:
        raise _damaged(path) from None
    return sources


def _source_line(name: str, source: Source) -> bytes:
    return _line(f'{source.sha256.hex()}  {source.size}  ', name)


def _name_bytes(name: str) -> bytes:
    return name.encode(errors='surrogateescape')


def _line(before: str, name: str) -> bytes:
    """One line that ends in a file's name, as ``sha256sum`` writes it."""
    if '\n' in name:
        before, name = '\\' + before, name.replace('\\', '\\\\').replace('\n', '\\n')
    return _name_bytes(f'{before}{name}\n')


def _fields(line: bytes, count: int) -> list[str]:
    """The parts of a line that `_line` wrote, without its line break, the name last."""
    fields = line.decode(errors='surrogateescape').split('  ', count - 1)
    if fields[0].startswith('\\'):
        fields[0] = fields[0][1:]
        fields[-1] = re.sub(r'\\(.)', lambda m: {'n': '\n'}.get(m[1], m[1]), fields[-1])
    return fields


def _sha256(text: str) -> bytes:
    digest = bytes.fromhex(text)
    if len(digest) != hashlib.sha256().digest_size:
        raise ValueError(text)
    return digest


def _damaged(path: Path) -> InputError:
    return InputError(
        f'damaged: {path}: remove it, and the command that made the dataset writes it again'
    )
