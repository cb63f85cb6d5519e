import argparse
import collections
import datetime
import io
import os
import pickle
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner, load_checkpoint
from safetensors_writer import safetensors
from torch import nn

from fan_mm.engine import use_safe_loading
from fan_mm.errors import InputError
from fan_mm.torch_files import (
    DamagedFileError,
    is_foreign,
    local_file,
    names_file,
    read_torch_file,
)


class Exploit:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


VALUES = {
    'history': HistoryBuffer([0.5, 0.25], [1, 2]),
    'args': argparse.Namespace(lr=1e-3, betas=(0.9, 0.999), name=None),
    'scalars': [np.dtype(code).type(1) for code in '?bhilqBHILQefd'],
    'arrays': [np.arange(6).reshape(2, 3).astype(code) for code in '?bhilqBHILQefd'],
    'big endian': np.arange(3, dtype='>f4'),
    'dtype': np.dtype('float32'),
}


def with_numpy_named(package, data):
    """The same torch file as another numpy would have written it."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, 'w') as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename.endswith('data.pkl'):
                content = content.replace(b'numpy._core.', b'numpy.core.')
                content = content.replace(b'numpy.core.', package.encode() + b'.')
            new.writestr(info.filename, content)
    return out.getvalue()


@pytest.mark.parametrize('numpy_package', ['numpy.core', 'numpy._core'])
@pytest.mark.parametrize('kind', VALUES)
def test_training_state_is_read_without_executing_anything(kind, numpy_package, tmp_path):
    path = tmp_path / 'state.pth'
    torch.save(dict(value=VALUES[kind]), path)
    path.write_bytes(with_numpy_named(numpy_package, path.read_bytes()))
    value = read_torch_file(path)['value']
    if kind == 'history':
        assert value.mean() == VALUES[kind].mean()
        assert value.data[0].tolist() == [0.5, 0.25]
    elif kind == 'args':
        assert value == VALUES[kind]
    elif kind in ('scalars', 'arrays'):
        for a, b in zip(value, VALUES[kind], strict=True):
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)
    else:
        assert np.array_equal(value, VALUES[kind])


def test_the_list_survives_loaders_that_clean_up(tmp_path):
    path = tmp_path / 'state.pth'
    torch.save(dict(state_dict=nn.Linear(2, 2).state_dict(), log=VALUES['history']), path)
    for _ in range(2):
        load_checkpoint(nn.Linear(2, 2), str(path))  # onedl-mmengine removes what it allowed
        assert torch.load(path)['log'].current() == 0.25


def test_code_is_never_run(tmp_path):
    for index, exploit in enumerate((Exploit(tmp_path / 'made'), nn.Linear(1, 1), print)):
        path = tmp_path / f'{index}.pth'
        torch.save(dict(state_dict=dict(w=torch.ones(1)), extra=exploit), path)
        with pytest.raises(
            InputError, match=rf'{index}\.pth was refused: .* would run "\S+"'
        ) as error:
            read_torch_file(path)
        assert '\n' not in str(error.value)
    assert not (tmp_path / 'made').exists()


def test_an_executable_pickle_cannot_hide_behind_allowed_types(tmp_path):
    class Sneaky(HistoryBuffer):
        def __reduce__(self):
            return np.dtype(np.float64).type, (Exploit(tmp_path / 'made'),)

    torch.save(Sneaky(), tmp_path / 'sneaky.pth')
    with pytest.raises(InputError, match='refused'):
        read_torch_file(tmp_path / 'sneaky.pth')
    assert not (tmp_path / 'made').exists()


def test_files_that_are_no_checkpoints(tmp_path):
    torch.save(dict(w=torch.ones(1000)), tmp_path / 'whole.pth')
    whole = (tmp_path / 'whole.pth').read_bytes()
    for name, content in {
        'empty': b'',
        'text': b'<!DOCTYPE html><title>Too many requests</title>',
        'half': whole[: len(whole) // 2],
        'pickle': pickle.dumps(dict(w=1), protocol=2),
    }.items():
        path = tmp_path / f'{name}.pth'
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf'{name}\.pth is not a torch checkpoint') as error:
            read_torch_file(path)
        assert '\n' not in str(error.value)
    with pytest.raises(InputError, match='no such checkpoint: '):
        read_torch_file(tmp_path / 'missing.pth')
    with pytest.raises(InputError, match=r'cannot read \S+: Is a directory$'):
        read_torch_file(tmp_path)
    with pytest.raises(
        InputError, match=r'cannot download http://127\.0\.0\.1:9/x\.pth: .*refused'
    ):
        read_torch_file('http://127.0.0.1:9/x.pth')


@pytest.mark.parametrize('shared', [True, False])
def test_every_machine_has_what_was_downloaded(shared, tmp_path, monkeypatch):
    """Other processes wait for the first one, and get the file themselves if its disk is not theirs."""
    steps = []

    def download(url, path):
        steps.append(f'{url} to {Path(path).name}')
        torch.save(dict(w=torch.ones(1)), path)

    def barrier():
        steps.append('waited')
        if shared:
            download('rank 0', local_file('https://a.org/w.pth'))

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    monkeypatch.setattr('fan_mm.torch_files.get_rank', lambda: 1)
    monkeypatch.setattr('fan_mm.torch_files.barrier', barrier)
    (tmp_path / 'checkpoints').mkdir()
    assert read_torch_file('https://a.org/w.pth').keys() == {'w'}
    assert steps == ['waited', f'{"rank 0" if shared else "https://a.org/w.pth"} to w.pth']


@pytest.mark.parametrize('start', ['file://', 'file://localhost'])
def test_an_address_of_a_file_is_its_path(start, tmp_path, monkeypatch):
    (tmp_path / 'a b').mkdir()
    path = tmp_path / 'a b' / 'w.pth'
    torch.save(dict(w=torch.ones(1)), path)
    address = start + path.as_uri().removeprefix('file://')
    assert '%20' in address
    assert local_file(address) == str(path) and names_file(address) and not is_foreign(address)
    assert read_torch_file(address).keys() == {'w'}
    with pytest.raises(InputError, match=f'no such checkpoint: {start}/none.pth'):
        read_torch_file(f'{start}/none.pth')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert local_file('file://~/w.pth') == str(tmp_path / 'w.pth')


def test_only_other_libraries_know_other_addresses():
    assert is_foreign('s3://a/w.pth') and is_foreign('torchvision://resnet50')
    assert not is_foreign('https://a/w.pth') and not names_file('https://a/w.pth')
    assert names_file('C:/w.pth') and not is_foreign('work_dirs/w.pth')


def test_settings_beside_the_weights_are_passed_over(tmp_path, monkeypatch):
    """As Lightning and TAO save them; the classes are fakes under the names that files ask for."""

    def fake(name, base=object):
        module, _, cls = name.rpartition('.')
        parts = module.split('.')
        for i in range(len(parts)):
            part = '.'.join(parts[: i + 1])
            if part not in sys.modules:
                monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
        kind = type(cls, (base,), {'__module__': module})
        monkeypatch.setattr(sys.modules[module], cls, kind, raising=False)
        return kind

    config = fake('omegaconf.dictconfig.DictConfig')()
    node = fake('omegaconf.nodes.AnyNode')()
    node.__dict__.update(_val=3, _metadata=fake('omegaconf.base.Metadata')())
    config.__dict__.update(
        _content={'lr': node}, kind=int, flags=collections.defaultdict(list, a=[1])
    )
    hparams = fake('lightning_fabric.utilities.data.AttributeDict', dict)(lr=0.1)
    state = collections.defaultdict(None, w=torch.arange(3))
    content = dict(state_dict=state, hyper_parameters=config, hparams=hparams, path=Path('a/b'))
    content |= dict(hparams_type=type(config), setup=types.SimpleNamespace(lr=0.1))
    began = datetime.datetime(2026, 1, 2)
    content |= dict(dates=[began, began.date(), began - datetime.datetime(2026, 1, 1)])
    torch.save(content, tmp_path / 'f.ckpt')
    found = read_torch_file(tmp_path / 'f.ckpt')
    assert found['state_dict']['w'].tolist() == [0, 1, 2]
    assert type(found['hparams']) is dict
    assert not hasattr(found['hyper_parameters'], '_content')


ELSE = {
    'empty.pth': (b'', 'but empty'),
    'lfs.pth': (
        b'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n',
        'git lfs pull',
    ),
    'page.pth': (b'\n<!DOCTYPE html><title>Too many requests</title>', 'but a web page'),
    'page2.pth': (b'<html lang="en">', 'but a web page'),
    'pytorch_model.bin.index.json': (b'{"metadata": {}, "weight_map": {}}', 'in several files'),
    'model.tar.gz': (b'\x1f\x8b\x08\0\0', 'a compressed archive: unpack it'),
    'renamed.pth': (
        b'\x08\x0a\x12\x07pytorch\x1a\x062.11.0',
        'an ONNX file: give the original checkpoint',
    ),
    'model.onnx': (b'\x08\x0a:\0', 'an ONNX file: give the original checkpoint'),
    'keras.h5': (b'\x89HDF\r\n\x1a\n', 'an HDF5 file'),
    'model.ort': (
        b'\x18\0\0\0ORTM\0\0',
        'a graph of onnxruntime or TensorFlow Lite: give the orig',
    ),
    'words.pth': (b'hello world', 'but text: hello world$'),
    'denied.pth': (b'{"error":\n "denied"}', r'but text: \{"error": "denied"\}'),
    'denied2.pth': (b'<Error>' + b'Access ' * 50, r'but text: <Error>Access .{40,60}\.\.\.$'),
    'noise.pth': (bytes(range(1, 200)), 'or damaged'),
    '__0_0.distcp': (b'PK\x03\x04' + bytes(99), 'but one shard of it .FSDP.: give its folder'),
    'zeros.pth': (bytes(9000), 'but zeros'),
    'zoo.pkl': (pickle.dumps(dict(model={'a.weight': [1, 2]})), 'a plain pickle'),
    'backup.tar': (b'model.pth'.ljust(257, b'\0') + b'ustar'.ljust(600, b'\0'), 'a tar archive'),
}


@pytest.mark.parametrize('name', ELSE)
def test_what_a_file_is_instead(name, tmp_path):
    content, message = ELSE[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=f'{name} is not a torch checkpoint, .*{message}') as error:
        read_torch_file(path)
    assert '\n' not in str(error.value)


def test_archives_of_other_things(tmp_path):
    path = tmp_path / 'f.pth'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('fan.pth', b'x')
    with pytest.raises(InputError, match=r'but an archive of fan\.pth: unpack it'):
        read_torch_file(path)
    np.savez(path.with_suffix('.npz'), a=np.zeros(2))
    with pytest.raises(InputError, match=r'but NumPy arrays: save them with torch\.save'):
        read_torch_file(path.with_suffix('.npz'))
    with zipfile.ZipFile(path, 'w') as archive:  # as torch.export.save writes it
        archive.writestr('model/data/weights/weight_0', b'x')
        archive.writestr('model/archive_format', b'pt2')
    with pytest.raises(InputError, match=r'but a program of torch\.export: give the original'):
        read_torch_file(path)
    torch.jit.script(nn.Linear(1, 1)).save(path)
    with pytest.raises(InputError, match='but a TorchScript program: save its state_dict'):
        read_torch_file(path)


def test_bytes_that_changed_on_the_way_are_found(tmp_path):
    path = tmp_path / 'f.pth'
    torch.save(dict(w=torch.ones(1000)), path)
    content = path.read_bytes()
    place = content.index(torch.ones(1000).numpy().tobytes())
    path.write_bytes(content[:place] + bytes(400) + content[place + 400 :])
    assert torch.load(path, weights_only=True)['w'].sum() == 900  # torch does not look
    with pytest.raises(DamagedFileError, match=r'f\.pth is damaged: the bytes of f/data/0 in it'):
        read_torch_file(path)


@pytest.mark.skipif(not hasattr(torch.serialization, 'skip_data'), reason='not of this torch')
def test_files_whose_tensors_were_filled_in_afterwards_are_read(tmp_path):
    with torch.serialization.skip_data():
        torch.save(dict(w=torch.ones(3)), tmp_path / 'f.pth')
    content = (tmp_path / 'f.pth').read_bytes()
    start = content.index(b'f/data/0') + len(b'f/data/0')
    start += 64 - start % 64  # torch's alignment of tensors
    ones = torch.ones(3).numpy().tobytes()
    (tmp_path / 'f.pth').write_bytes(content[:start] + ones + content[start + len(ones) :])
    assert read_torch_file(tmp_path / 'f.pth')['w'].tolist() == [1, 1, 1]


@pytest.mark.skipif(not hasattr(torch.serialization, 'set_crc32_options'), reason='always written')
def test_files_without_checksums_are_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(dict(w=torch.ones(3)), tmp_path / 'f.pth')
    finally:
        torch.serialization.set_crc32_options(True)
    assert read_torch_file(tmp_path / 'f.pth')['w'].sum() == 3


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (['.metadata', '__0_0.distcp'], 'in shards .FSDP.*dcp_to_torch'),
        (['latest', 'zero_to_fp32.py'], 'in shards .DeepSpeed.*zero_to_fp32'),
        (['mp_rank_00_model_states.pt'], 'in shards .DeepSpeed'),
        (['model.safetensors.index.json'], 'in several files'),
        (['a.txt'], 'Is a directory'),
    ],
)
def test_folders(names, message, tmp_path):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=rf'cannot read \S+: .*{message}') as error:
        read_torch_file(tmp_path)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('suffix', ['safetensors', 'bin'])
def test_one_of_several_files_is_no_checkpoint(tmp_path, suffix):
    """Its tensors alone would look like a smaller model."""
    for number, count in ((1, 1), (2, 3)):
        path = tmp_path / f'model-{number:05d}-of-{count:05d}.{suffix}'
        if suffix == 'bin':
            torch.save(dict(w=torch.ones(1)), path)
        else:
            path.write_bytes(safetensors(dict(w=torch.ones(1))))
        if count == 1:
            assert read_torch_file(path)['w'] == 1
        else:
            with pytest.raises(InputError, match=r'is one shard \(2 of 3\) .* save it as one'):
                read_torch_file(path)
    with pytest.raises(InputError, match='no such checkpoint'):
        read_torch_file(tmp_path / f'model-00003-of-00003.{suffix}')


def test_old_format_files_are_read(tmp_path):
    path = tmp_path / 'old.pth'
    torch.save(dict(w=torch.arange(3)), path, _use_new_zipfile_serialization=False)
    assert read_torch_file(str(path))['w'].tolist() == [0, 1, 2]


class Regression(BaseModel):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def forward(self, inputs, target, mode='tensor'):
        out = self.net(inputs)
        return dict(loss=(out - target).square().mean()) if mode == 'loss' else [out]


class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        x = torch.randn(2, generator=generator)
        return dict(inputs=x, target=x.sum(0, keepdim=True))


class Score(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return dict(score=np.float64(len(results)))


def runner(work_dir, until=8, **options):
    loader = dict(
        dataset=Data(),
        batch_size=4,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    torch.manual_seed(0)
    return Runner(
        model=Regression(),
        work_dir=str(work_dir),
        train_dataloader=loader,
        val_dataloader=loader,
        val_evaluator=[Score()],
        val_cfg=dict(),
        train_cfg=dict(by_epoch=False, max_iters=until, val_interval=4),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.05)),
        param_scheduler=[dict(type='PolyLR', by_epoch=False, end=8)],
        default_hooks=dict(
            checkpoint=dict(
                type='CheckpointHook', by_epoch=False, interval=4, save_best='score', rule='greater'
            ),
            logger=dict(type='LoggerHook', interval=1),
        ),
        custom_hooks=[dict(type='EMAHook', momentum=0.1)],
        randomness=dict(seed=0),
        default_scope='mmengine',
        experiment_name=f'test_{os.path.basename(work_dir)}',
        **options,
    )


def test_a_runners_own_checkpoint_resumes(tmp_path):
    whole = runner(tmp_path / 'whole')
    whole.train()
    runner(tmp_path / 'half', until=4).train()
    saved = read_torch_file(tmp_path / 'half' / 'iter_4.pth')
    assert isinstance(saved['message_hub']['log_scalars']['train/loss'], HistoryBuffer)
    assert {'ema_state_dict', 'optimizer', 'param_schedulers'} <= saved.keys()

    resumed = runner(
        tmp_path / 'rest', resume=True, load_from=str(tmp_path / 'half' / 'iter_4.pth')
    )
    resumed.train()
    assert resumed.iter == 8
    a, b = (torch.load(tmp_path / name / 'iter_8.pth') for name in ('whole', 'rest'))
    for part in ('state_dict', 'ema_state_dict'):
        for key, value in a[part].items():
            assert torch.equal(value, b[part][key]), key
    for state, other in zip(
        a['optimizer']['state'].values(), b['optimizer']['state'].values(), strict=True
    ):
        assert all(torch.equal(state[key], other[key]) for key in ('exp_avg', 'exp_avg_sq', 'step'))
    losses = [
        checkpoint['message_hub']['log_scalars']['train/loss'].data[0].tolist()
        for checkpoint in (a, b)
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 8


@pytest.mark.parametrize('resume', [True, False])
def test_a_planted_checkpoint_is_refused(resume, tmp_path):
    use_safe_loading()
    runner(tmp_path / 'good', until=4).train()
    planted = torch.load(tmp_path / 'good' / 'iter_4.pth')
    planted['message_hub']['runtime_info']['note'] = Exploit(tmp_path / 'made')
    torch.save(planted, tmp_path / 'evil.pth')
    victim = runner(tmp_path / 'victim', resume=resume, load_from=str(tmp_path / 'evil.pth'))
    with pytest.raises(InputError, match=r'evil\.pth was refused: .* would run "posix') as error:
        victim.train()
    assert not (tmp_path / 'made').exists()
    assert '\n' not in str(error.value)
