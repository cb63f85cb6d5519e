"""Submissions: what each server's zip lists, and that every planted fault is found."""

import io
import os
import zipfile

import cv2
import numpy as np
import pytest

from fan_mm.errors import InputError
from fan_mm.evaluation.shifts.submission import SERVERS, Submission, check_zip, write_submission

SIZE = (6, 12)  # height, width
FRAMES = ['rgb_anon/fog/test/GOPR0475/GOPR0475_frame_000247_rgb_anon.png'] + [
    f'rgb_anon/night/test/GP010364/GP010364_frame_{n:06d}_rgb_anon.png' for n in (1, 21)
]
PICTURES = {
    'acdc': FRAMES,
    'dark_zurich': FRAMES[1:],
    'muses': ['frame_camera/test/fog/day/REC0001_frame_000021_frame_camera.png'],
    'cityscapes': ['leftImg8bit/test/bonn/bonn_000001_000019_leftImg8bit.png'],
    'bdd100k': ['images/10k/test/ac517380-00000000.jpg'],
    'idd': ['leftImg8bit/test/4/f00_leftImg8bit.png', 'leftImg8bit/test/201/f00_leftImg8bit.jpg'],
}
LISTINGS = {
    'acdc': [
        'labelTrainIds/GOPR0475_frame_000247_rgb_anon.png',
        'labelTrainIds/GP010364_frame_000001_rgb_anon.png',
        'labelTrainIds/GP010364_frame_000021_rgb_anon.png',
    ],
    'dark_zurich': [
        f'{folder}/GP010364_frame_{n:06d}_rgb_anon.png'
        for folder in ('confidence', 'labelTrainIds', 'labelTrainIds_invalid')
        for n in (1, 21)
    ],
    'muses': ['labelTrainIds/REC0001_frame_000021.png'],
    'cityscapes': ['bonn_000001_000019_labelIds.png'],
    'bdd100k': ['ac517380-00000000.png'],
    'idd': ['201/f00_gtFine_labellevel3Ids.png', '4/f00_gtFine_labellevel3Ids.png'],
}
CALLED = {  # what the 19 trainIds are called, where not themselves
    'cityscapes': [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33],
    'idd': [0, 2, 22, 14, 15, 20, 19, 18, 24, 3, 25, 4, 5, 9, 10, 11, 12, 6, 7],
}


@pytest.fixture
def pictures(tmp_path):
    """Writes the pictures of a server -> their paths."""

    def write(server, size=SIZE):
        paths = [tmp_path / 'data' / name for name in PICTURES[server]]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.zeros((*size, 3), np.uint8))
        return paths

    return write


def predictions(images, size=SIZE):
    for index, image in enumerate(images):
        labels = (np.arange(size[0] * size[1]).reshape(size) + index) % 19
        yield image, labels, np.linspace(0, 1, labels.size).reshape(size)


@pytest.mark.parametrize('server', SERVERS)
def test_copies_in_another_format_have_the_same_names(server):
    for image in PICTURES[server]:
        other = image.rsplit('.', 1)[0] + '.JPEG'
        assert SERVERS[server].names(other) == SERVERS[server].names(image)


def test_every_server_has_a_case():
    assert PICTURES.keys() == LISTINGS.keys() == SERVERS.keys()


@pytest.mark.parametrize('server', SERVERS)
def test_the_zip_has_what_the_server_takes(pictures, tmp_path, server):
    images = pictures(server)
    done = write_submission(server, predictions(images), tmp_path / 'out')
    assert done.zip == tmp_path / 'out' / f'{server}.zip' and done.files == len(LISTINGS[server])
    called = np.array(CALLED.get(server, range(19)))
    with zipfile.ZipFile(done.zip) as archive:
        assert archive.namelist() == LISTINGS[server]
        assert {entry.external_attr >> 16 for entry in archive.infolist()} == {0o644}
        assert archive.testzip() is None
        for name in archive.namelist():
            found = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_UNCHANGED)
            assert found.shape == SIZE
            (index,) = {i for i, image in enumerate(images) if name in SERVERS[server].names(image)}
            _, labels, confidence = list(predictions(images))[index]
            if name.startswith('confidence/'):
                assert found.dtype == np.uint16
                assert np.array_equal(found, np.rint(confidence.astype(np.float32) * 65535))
                assert found.max() == 65535
            else:
                assert found.dtype == np.uint8 and np.array_equal(found, called[labels])


@pytest.mark.parametrize('server', SERVERS)
def test_a_part_of_a_split_is_said(pictures, tmp_path, server):
    done = write_submission(server, predictions(pictures(server)), tmp_path / 'out')
    said, record = ' '.join(done.remarks), SERVERS[server]
    assert (f'needs all {record.count}' in said) == (record.count is not None)
    assert 'images of 12x6 pixels' in said
    assert record.remark in said


def test_the_size_of_the_zip_is_said(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr('fan_mm.evaluation.shifts.submission._MEGABYTE', 1)
    monkeypatch.setitem(vars(SERVERS['muses']), 'limit', 100)
    done = write_submission('muses', predictions(pictures('muses')), tmp_path / 'out')
    assert any('the server accepts less than 100' in remark for remark in done.remarks)


def test_a_stopped_submission_goes_on(pictures, tmp_path):
    images = pictures('dark_zurich')
    whole = write_submission('dark_zurich', predictions(images), tmp_path / 'whole')
    given = list(predictions(images))

    def stopped():
        yield given[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_submission('dark_zurich', stopped(), tmp_path / 'parts')
    submission = Submission('dark_zurich', tmp_path / 'parts')
    assert not submission.zip.exists() and submission.missing(images) == images[1:]
    with pytest.raises(InputError, match=r'no prediction of .*GP010364_frame_000021'):
        submission.finish(images)
    submission.add(*given[1])
    done = submission.finish(images)
    assert submission.missing(images) == []
    assert done.zip.read_bytes() == whole.zip.read_bytes()
    # a picture with one of its three files counts as missing
    (submission.folder / 'confidence/GP010364_frame_000001_rgb_anon.png').unlink()
    assert submission.missing(images) == images[:1]


def test_predictions_of_other_weights_do_not_mix(pictures, tmp_path):
    images, out = pictures('acdc'), tmp_path / 'out'
    for _ in range(2):
        write_submission('acdc', predictions(images), out, {'checkpoint_sha256': 'a'})
    with pytest.raises(InputError, match='of other weights'):
        Submission('acdc', out, {'checkpoint_sha256': 'b'})
    Submission('dark_zurich', out, {'checkpoint_sha256': 'b'})  # beside it
    (tmp_path / 'mine/acdc').mkdir(parents=True)
    with pytest.raises(InputError, match='does not belong to a submission'):
        Submission('acdc', tmp_path / 'mine')


def test_a_faulty_zip_never_gets_its_name(pictures, tmp_path):
    images, out = pictures('acdc'), tmp_path / 'out'
    submission = Submission('acdc', out)
    for prediction in predictions(images):
        submission.add(*prediction)
    (submission.folder / LISTINGS['acdc'][0]).write_bytes(b'\x89PNG half')
    with pytest.raises(InputError, match='cannot be read as PNG'):
        submission.finish(images)
    assert sorted(os.listdir(out)) == ['acdc', 'acdc.json']


@pytest.mark.parametrize(
    'change, said',
    [
        (dict(labels=np.zeros((6, 11), int)), 'has 11x6 pixels, the image 12x6'),
        (dict(labels=np.zeros((*SIZE, 1), int)), r'must be \(H, W\) trainIds'),
        (dict(labels=np.zeros(SIZE)), r'must be \(H, W\) trainIds'),
        (dict(labels=np.full(SIZE, 19)), 'class 19'),
        (dict(labels=np.full(SIZE, 255, np.uint8)), 'class 255'),
        (dict(labels=np.full(SIZE, -1)), 'class -1'),
        (dict(confidence=None), 'there is none'),
        (dict(confidence=np.zeros((6, 11))), r'confidence of \(6, 11\)'),
        (dict(confidence=np.full(SIZE, 1.5)), 'from 0 to 1'),
        (dict(confidence=np.full(SIZE, -0.1)), 'from 0 to 1'),
        (dict(confidence=np.full(SIZE, np.nan)), 'from 0 to 1'),
        (dict(image='frame.png'), 'cannot be read as an image'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_predictions_that_are_none(pictures, tmp_path, change, said):
    images = pictures('dark_zurich')
    given = dict(zip(('image', 'labels', 'confidence'), next(predictions(images)), strict=True))
    submission = Submission('dark_zurich', tmp_path / 'out')
    with pytest.raises(InputError, match=said):
        submission.add(**given | change)
    assert not submission.folder.exists()


@pytest.mark.parametrize(
    'server, name',
    [
        ('acdc', 'rgb_anon/fog/test_ref/GOPR0475/GOPR0475_frame_000247_rgb_ref_anon.png'),
        ('dark_zurich', 'val_ref/day/GOPR0356_ref/GOPR0356_frame_000324_ref_rgb_anon.png'),
        ('muses', 'frame_camera/test/fog/day/GOPR0475_frame_000247_rgb_anon.png'),
        ('cityscapes', 'bonn/bonn_000001_000019_leftImg8bit_foggy_beta_0.02.png'),
        ('bdd100k', 'bonn/bonn_000001_000019_leftImg8bit.png'),
        ('idd', '4/f00_image.jpg'),
    ],
)
def test_pictures_of_other_sets(tmp_path, server, name):
    with pytest.raises(InputError, match='is not a name of an image'):
        Submission(server, tmp_path).missing([tmp_path / name])


def test_two_pictures_for_one_file(pictures, tmp_path):
    images = pictures('bdd100k')
    twin = tmp_path / 'other' / images[0].name
    with pytest.raises(InputError, match=r'would both be ac517380-00000000\.png'):
        Submission('bdd100k', tmp_path / 'out').missing([*images, twin])


def test_a_server_that_nobody_knows(tmp_path):
    with pytest.raises(InputError, match='known for acdc, dark_zurich, muses'):
        Submission('camvid', tmp_path)
    with pytest.raises(InputError, match='no images'):
        Submission('acdc', tmp_path).finish([])


def png(pixels, options=()):
    return cv2.imencode('.png', pixels, options)[1].tobytes()


def palette_png(pixels):
    from PIL import Image

    image = Image.fromarray(pixels).convert('P')
    image.putpalette(list(range(256)) * 3)
    image.save(file := io.BytesIO(), 'PNG')
    return file.getvalue()


LABELS, LEVELS = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint16)
FIRST, LAST = LISTINGS['dark_zurich'][2], LISTINGS['dark_zurich'][0]  # labels, confidence
FAULTS = {
    'missing': (FIRST, None, 'the zip lacks labelTrainIds/'),
    'added': ('labelTrainIds/GOPR0000_frame_000000_rgb_anon.png', png(LABELS), 'also contains'),
    'nested': (f'submit/{FIRST}', png(LABELS), 'contains submit/labelTrainIds'),
    'colour': (FIRST, png(np.zeros((*SIZE, 3), np.uint8)), 'has 3 x 8 bits'),
    'palette': (FIRST, palette_png(LABELS), 'has 3 x 8 bits'),
    'deep labels': (FIRST, png(LEVELS), 'has 1 x 16 bits per pixel, not 1 x 8'),
    'shallow confidence': (LAST, png(LABELS), 'has 1 x 8 bits per pixel, not 1 x 16'),
    'small': (FIRST, png(LABELS[:3]), 'has 12x3 pixels, the image 12x6'),
    'void': (FIRST, png(LABELS + 255), 'has the value 255, which is not a class'),
    'labelIds': (FIRST, png(LABELS + 33), 'has the value 33'),
    'cut off': (FIRST, png(LABELS)[:40], 'cannot be read as PNG'),
    'empty': (FIRST, b'', 'cannot be read as PNG'),
    'JPEG': (FIRST, cv2.imencode('.jpg', LABELS)[1].tobytes(), 'cannot be read as PNG'),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_planted_faults_are_found(pictures, tmp_path, fault):
    images, (name, content, said) = pictures('dark_zurich'), FAULTS[fault]
    good = write_submission('dark_zurich', predictions(images), tmp_path / 'out').zip
    assert check_zip(good, SERVERS['dark_zurich'], images) == {(12, 6)}
    with zipfile.ZipFile(good) as source:
        files = {entry: source.read(entry) for entry in source.namelist()} | {name: content}
    with zipfile.ZipFile(tmp_path / 'bad.zip', 'w') as target:
        for entry, data in files.items():
            if data is not None:
                target.writestr(entry, data)
    with pytest.raises(InputError, match=said):
        check_zip(tmp_path / 'bad.zip', SERVERS['dark_zurich'], images)
