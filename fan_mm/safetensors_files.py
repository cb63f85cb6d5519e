"""Reading ``.safetensors``: eight bytes of length, a JSON header, raw little-endian data.

The format as documented by its authors (https://huggingface.co/docs/safetensors); it cannot hold code.
"""

import json
import math
import os
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import torch
from torch import Tensor

from fan_mm.errors import InputError

_LENGTH = 8  # bytes, little-endian, in front of the header
_MAX_HEADER = 100_000_000  # bytes, the format's own limit
_TORCH = (b'PK\3\4', b'\x80\2\x8a\n')  # how torch's files begin, misnamed ones too
_DTYPES = {
    'BOOL': 'bool',
    'U8': 'uint8',
    'I8': 'int8',
    'U16': 'uint16',
    'I16': 'int16',
    'U32': 'uint32',
    'I32': 'int32',
    'U64': 'uint64',
    'I64': 'int64',
    'F8_E4M3': 'float8_e4m3fn',
    'F8_E5M2': 'float8_e5m2',
    'F16': 'float16',
    'BF16': 'bfloat16',
    'F32': 'float32',
    'F64': 'float64',
    'C64': 'complex64',
}


def is_safetensors(path: str | os.PathLike) -> bool:
    """Whether a file is one, by its suffix or by how it begins."""
    with open(path, 'rb') as file:
        start = file.read(_LENGTH + 2)
    if start.startswith(_TORCH):
        return False
    if os.fspath(path).lower().endswith('.safetensors'):
        return True
    if len(start) < _LENGTH + 2 or start[_LENGTH:] not in (b'{"', b'{}', b'{ ', b'{\n'):
        return False
    return struct.unpack('<Q', start[:_LENGTH])[0] <= os.path.getsize(path) - _LENGTH


def read_safetensors(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read all tensors onto the CPU.

    Returns:
        Name to tensor, in the file's order.

    Raises:
        InputError: the file is damaged, or has a type of numbers that torch does not know.
        OSError: it cannot be read.
    """
    with open(path, 'rb') as file:
        try:
            header, size = _read_header(file, os.fstat(file.fileno()).st_size)
            entries = {name: _check_entry(name, entry) for name, entry in header.items()}
            _check_layout(entries, size)
        except ValueError as error:  # also what JSON and UTF-8 say
            reason = str(error).partition('\n')[0]
            raise InputError(f'{path} is a damaged .safetensors file: {reason}') from None
        data = bytearray(size)
        if file.readinto(data) != size:
            raise InputError(f'{path} is a damaged .safetensors file: it ends early')
    return {
        name: _tensor(data, dtype, shape, start, end)
        for name, (dtype, shape, start, end) in entries.items()
    }


def _read_header(file: BinaryIO, file_size: int) -> tuple[Mapping[str, dict], int]:
    """The entries of the tensors, and how many bytes of data follow."""
    if file_size < _LENGTH:
        raise ValueError(f'it has {file_size} bytes')
    length = struct.unpack('<Q', file.read(_LENGTH))[0]
    if length > min(_MAX_HEADER, file_size - _LENGTH):
        raise ValueError(f'its header should have {length} bytes, the file has {file_size}')
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_distinct)
    except RecursionError:
        raise ValueError('its header is not a list of tensors') from None
    if not isinstance(header, dict):
        raise ValueError('its header is not a list of tensors')
    header.pop('__metadata__', None)
    return header, file_size - _LENGTH - length


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError('its header contains a name twice')
    return found


def _check_entry(name: str, entry: Any) -> tuple[torch.dtype, list[int], int, int]:
    """Type, shape, first byte and end of a tensor, which agree with each other."""
    try:
        code, shape, (start, end) = entry['dtype'], entry['shape'], entry['data_offsets']
        numbers = [*shape, start, end]
    except (TypeError, KeyError, ValueError):
        raise ValueError(f'{name} has no dtype, shape and two data_offsets') from None
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f'{name} has a shape or offsets that are not whole numbers')
    dtype = getattr(torch, _DTYPES.get(code, '') if isinstance(code, str) else '', None)
    if dtype is None:
        raise ValueError(f'{name} has the unknown type {code}')
    if math.prod(shape) * dtype.itemsize != end - start:
        raise ValueError(f'{name} of shape {shape} in {code} has {end - start} bytes')
    return dtype, shape, start, end


def _check_layout(entries: Mapping[str, tuple], size: int) -> None:
    """Whether the tensors lie one behind the other and fill the file."""
    place, before = 0, 'the header'
    for name, (_, _, start, end) in sorted(entries.items(), key=lambda entry: entry[1][2:]):
        if start != place:
            what = 'overlaps' if start < place else 'leaves a gap to'
            raise ValueError(f'{name} {what} {before}')
        place, before = end, name
    if place != size:
        raise ValueError(f'its tensors have {place} bytes, the file has {size} for them')


def _tensor(data: bytearray, dtype: torch.dtype, shape: list[int], start: int, end: int) -> Tensor:
    if start == end:
        return torch.empty(shape, dtype=dtype)
    raw = torch.frombuffer(data, dtype=torch.uint8, count=end - start, offset=start)
    if start % dtype.itemsize:
        raw = raw.clone()  # lies where its type may lie
    return raw.view(dtype).reshape(shape)
