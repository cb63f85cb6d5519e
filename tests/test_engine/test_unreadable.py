"""A picture or label that a run could not read is named in one line."""

import pytest
from mmengine.config import Config

from fan_mm.engine.unreadable import first_unreadable, unreadable_files_named
from fan_mm.errors import InputError
from fan_mm.jobs.training import train

pytest.importorskip('mmseg')


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


@pytest.fixture
def spoilt(tiny_cityscapes):
    """Spoils the third of the four files of a kind, which no check looks into, but for its size."""

    def spoil(folder, how):
        path = sorted((tiny_cityscapes / folder / 'train/town').iterdir())[2]
        path.unlink() if how is None else cut(path, how)
        return path

    return spoil


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize(('folder', 'size'), [('leftImg8bit', 20), ('gtFine', 60)])
def test_training(tiny_config, spoilt, tmp_path, monkeypatch, workers, folder, size):
    monkeypatch.setattr('fan_mm.engine.label_checks.LABEL_FILES', 1)
    monkeypatch.setattr('fan_mm.engine.files_there.refuse_empty', lambda *args: None)
    path = spoilt(folder, size)
    cfg = Config.fromfile(tiny_config)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.train_dataloader.num_workers = workers
    with pytest.raises(InputError) as error:
        train(cfg)
    assert (
        str(error.value)
        == f'train_dataloader: {path} cannot be read as a picture: damaged, or cut short'
    )


class Data:
    def __init__(self, infos):
        self.infos = infos

    def __len__(self):
        return len(self.infos)

    def get_data_info(self, index):
        return self.infos[index]


class Wrapper:
    def __init__(self, *datasets):
        self.datasets = datasets


@pytest.mark.parametrize(
    ('folder', 'how', 'words'),
    [
        (None, 0, None),
        ('leftImg8bit', 0, 'is empty (0 bytes)'),
        ('gtFine', 0, 'is empty (0 bytes)'),
        ('gtFine', 60, 'damaged, or cut short'),
        ('leftImg8bit', None, 'no such file'),
    ],
)
def test_what_is_wrong_with_a_file(tiny_cityscapes, spoilt, folder, how, words):
    pictures = sorted((tiny_cityscapes / 'leftImg8bit/train/town').iterdir())
    labels = sorted((tiny_cityscapes / 'gtFine/train/town').iterdir())
    path = spoilt(folder, how) if folder else None
    data = Data(
        [dict(img_path=str(p), seg_map_path=str(s)) for p, s in zip(pictures, labels, strict=True)]
    )
    found = first_unreadable(Wrapper(Data([dict(img_path='http://a/b.png')]), Wrapper(data)))
    assert found is None if words is None else (words in found and str(path) in found)


@pytest.mark.parametrize(
    'error', [KeyError('x'), FileNotFoundError('x'), ValueError('buf.empty()')]
)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as raised, unreadable_files_named(object()):
        raise error
    assert raised.value is error
