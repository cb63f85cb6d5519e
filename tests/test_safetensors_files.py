import json
import struct

import pytest
import torch
from safetensors_writer import DTYPES, safetensors

from fan_mm.errors import InputError
from fan_mm.safetensors_files import is_safetensors, read_safetensors
from fan_mm.torch_files import read_torch_file


def entry(dtype='F32', shape=(2,), offsets=(0, 8)):
    return dict(dtype=dtype, shape=list(shape), data_offsets=list(offsets))


def packed(header, data=b'\0' * 8, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(text) if length is None else length) + text + data


@pytest.mark.parametrize('name', ['f.safetensors', 'f.SafeTensors', 'f.pth'])
def test_every_type_and_shape_is_read(name, tmp_path):
    state = {'odd': torch.tensor([1, 0, 1], dtype=torch.uint8)}  # what follows lies at odd bytes
    for dtype in DTYPES:
        state[f'{dtype}'] = torch.arange(6).reshape(2, 3).to(dtype)
        state[f'{dtype}.scalar'] = torch.tensor(1).to(dtype)
        state[f'{dtype}.empty'] = torch.zeros(0, 4).to(dtype)
    path = tmp_path / name
    path.write_bytes(safetensors(state))
    assert is_safetensors(path)
    found = read_torch_file(path)
    assert list(found) == list(state)
    for key, value in state.items():
        assert found[key].dtype == value.dtype and found[key].shape == value.shape
        assert torch.equal(found[key].double(), value.double())


BAD = {
    'empty': (b'', 'it has 0 bytes'),
    'short': (b'\1\0\0', 'it has 3 bytes'),
    'absurd length': (packed({}, length=2**63), 'header should have 9223372036854775808 bytes'),
    'not JSON': (packed(b'{"a": nonsense}'), 'damaged'),
    'no UTF-8': (packed(b'{"\xff": 1}'), 'damaged'),
    'a list': (packed([1, 2]), 'its header is not a list of tensors'),
    'deep': (packed(b'[' * 100000), 'damaged'),
    'no entry': (packed({'a': 3}), 'a has no dtype, shape and two data_offsets'),
    'no shape': (packed({'a': dict(dtype='F32')}), 'a has no dtype, shape'),
    'three offsets': (packed({'a': entry(offsets=(0, 4, 8))}), 'a has no dtype, shape'),
    'negative': (packed({'a': entry(offsets=(-8, 0))}), 'not whole numbers'),
    'fractions': (packed({'a': entry(shape=(0.5, 4))}), 'not whole numbers'),
    'boolean': (packed({'a': entry(shape=(True, 2))}), 'not whole numbers'),
    'unknown type': (packed({'a': entry('F4')}), 'has the unknown type F4'),
    'type no text': (packed({'a': entry(['F32'])}), 'has the unknown type'),
    'shape and size': (packed({'a': entry(shape=(3,))}), r'a of shape \[3\] in F32 has 8 bytes'),
    'backwards': (packed({'a': entry(offsets=(8, 0))}), 'has -8 bytes'),
    'overlap': (packed({'a': entry(), 'b': entry(offsets=(4, 12))}, b'\0' * 12), 'b overlaps a'),
    'gap': (
        packed({'a': entry(), 'b': entry(offsets=(12, 20))}, b'\0' * 20),
        'b leaves a gap to a',
    ),
    'truncated': (packed({'a': entry()}, b'\0' * 7), 'have 8 bytes, the file has 7'),
    'rest': (packed({'a': entry()}, b'\0' * 9), 'have 8 bytes, the file has 9'),
    'twice': (packed(b'{"a": {}, "a": {}}'), 'a name twice'),
}


@pytest.mark.parametrize('case', BAD)
def test_damaged_files_are_one_line(case, tmp_path):
    content, message = BAD[case]
    path = tmp_path / 'f.safetensors'
    path.write_bytes(content)
    with pytest.raises(InputError, match=message if content else 'empty') as error:
        read_torch_file(path)
    assert '\n' not in str(error.value)
    with pytest.raises(InputError, match=message):
        read_safetensors(path)


def test_other_files_of_that_name_are_named(tmp_path):
    path = tmp_path / 'f.safetensors'
    path.write_bytes(b'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n')
    with pytest.raises(
        InputError, match=r'not a \.safetensors file, but a Git LFS pointer: run git lfs pull'
    ):
        read_torch_file(path)
    path.write_bytes(b'<!DOCTYPE html><html>')
    with pytest.raises(InputError, match='but a web page'):
        read_torch_file(path)
    torch.save(dict(a=torch.ones(1)), path)
    assert read_torch_file(path)['a'] == 1


def test_as_the_authors_package(tmp_path):
    package = pytest.importorskip('safetensors.torch')
    state = {}
    for dtype in DTYPES:
        state[f'{dtype}'] = torch.arange(6).reshape(2, 3).to(dtype)
        state[f'{dtype}.scalar'] = torch.tensor(1).to(dtype)
        state[f'{dtype}.empty'] = torch.zeros(0, 4).to(dtype)
    package.save_file(state, tmp_path / 'theirs.safetensors')
    (tmp_path / 'ours.safetensors').write_bytes(safetensors(state))
    files = [tmp_path / f'{whose}.safetensors' for whose in ('theirs', 'ours')]
    for found in (*map(read_torch_file, files), package.load_file(files[1])):
        assert found.keys() == state.keys()
        for key, value in state.items():
            assert found[key].dtype == value.dtype and found[key].shape == value.shape
            assert torch.equal(found[key].double(), value.double())
