"""Writing ``.safetensors`` by its documentation, for the tests of what reads it."""

import json
import struct

import torch

DTYPES = {
    torch.float64: 'F64',
    torch.float32: 'F32',
    torch.float16: 'F16',
    torch.bfloat16: 'BF16',
    torch.float8_e4m3fn: 'F8_E4M3',
    torch.float8_e5m2: 'F8_E5M2',
    torch.int64: 'I64',
    torch.int32: 'I32',
    torch.int16: 'I16',
    torch.int8: 'I8',
    torch.uint8: 'U8',
    torch.bool: 'BOOL',
}


def safetensors(state):
    """The bytes of a file as the format's documentation says."""
    header, data = {'__metadata__': {'format': 'pt'}}, b''
    for name, value in state.items():
        raw = value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = dict(
            dtype=DTYPES[value.dtype], shape=list(value.shape), data_offsets=offsets
        )
        data += raw
    text = json.dumps(header).encode()
    return struct.pack('<Q', len(text)) + text + data
