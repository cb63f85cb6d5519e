"""The street scenes: the same bytes again, honest labels, not trivial; and the Cityscapes writer."""

import itertools
import json
import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import warm_python

from fan_mm.datasets.scenes import CLASSES, THINGS, Label, render_scene, storage, write_cityscapes
from fan_mm.datasets.scenes.camera import Camera, clip_near
from fan_mm.datasets.scenes.prop import Prop, back_to_front, cuboid
from fan_mm.datasets.scenes.storage import FIRST_SCENE
from fan_mm.errors import InputError

ROOT = Path(__file__).parents[2]
SIZE = (128, 256)


@pytest.fixture(scope='module')
def scenes():
    return [render_scene(*SIZE, 0, index) for index in range(40)]


def test_classes_are_cityscapes_own():
    dataset = pytest.importorskip('mmseg.datasets').CityscapesDataset
    assert tuple(label.title for label in CLASSES) == tuple(dataset.METAINFO['classes'])
    assert [int(label) for label in CLASSES] == list(range(19))


def test_same_seed_same_bytes_whatever_came_before():
    first = render_scene(*SIZE, 3, 7)
    np.random.seed(1)
    cv2.setRNGSeed(5)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        render_scene(*SIZE, 4, 0)
        again = render_scene(*SIZE, 3, 7)
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.entities, again.entities)
    assert first.instances == again.instances


@pytest.mark.parametrize('seed, index', [(3, 8), (4, 7)])
def test_another_seed_or_index_is_another_scene(seed, index):
    first, other = render_scene(*SIZE, 3, 7), render_scene(*SIZE, seed, index)
    assert (first.labels != other.labels).mean() > 0.1


@pytest.mark.parametrize('size', [(64, 64), (96, 200), (300, 170), (256, 512)])
def test_any_size(size):
    scene = render_scene(*size, 0, 0)
    assert scene.image.shape == (*size, 3) and scene.image.dtype == np.uint8
    assert scene.labels.shape == size and scene.labels.dtype == np.uint8
    assert scene.entities.shape == size
    assert scene.image.std() > 15


def test_labels_are_train_ids_and_every_class_occurs(scenes):
    values = set(np.unique(np.concatenate([scene.labels.ravel() for scene in scenes])).tolist())
    assert values == set(range(19)) | {255}


def test_size_does_not_change_what_is_in_a_scene():
    small, large = render_scene(96, 192, 0, 1), render_scene(192, 384, 0, 1)
    shrunk = cv2.resize(large.labels, (192, 96), interpolation=cv2.INTER_NEAREST)
    assert (shrunk == small.labels).mean() > 0.9


def test_instances_are_the_things_that_are_seen(scenes):
    for scene in scenes:
        ids = [instance.id for instance in scene.instances]
        assert ids == sorted(set(ids))
        covered = np.zeros(SIZE, bool)
        for instance in scene.instances:
            mask = scene.entities == instance.id
            assert mask.any() and instance.label in THINGS
            assert (scene.labels[mask] == instance.label).all()
            covered |= mask
        assert np.array_equal(covered, np.isin(scene.labels, list(THINGS)))


def test_near_things_are_large(scenes):
    heights, feet = [], []
    for scene in scenes:
        for instance in scene.instances:
            rows = np.flatnonzero((scene.entities == instance.id).any(axis=1))
            if instance.label is Label.CAR and rows[-1] < SIZE[0] - 2:
                heights.append(np.ptp(rows) + 1)
                feet.append(rows[-1])
    assert len(heights) > 100
    assert np.corrcoef(heights, feet)[0, 1] > 0.6


def test_sky_above_road_below(scenes):
    rows = np.arange(SIZE[0])[:, None] * np.ones(SIZE)
    for scene in scenes:
        if (scene.labels == Label.SKY).any():
            assert rows[scene.labels == Label.SKY].mean() < rows[scene.labels == Label.ROAD].mean()


def test_colour_alone_does_not_tell_the_class(scenes):
    """The best table from colour to class, with or without the row, is far from a good model."""

    def codes(scene, with_row):
        colour = (scene.image // 32).astype(int) @ [64, 8, 1]
        row = np.arange(SIZE[0])[:, None] * 8 // SIZE[0]
        return (colour + 512 * row if with_row else colour).ravel()

    def mean_iou(with_row):
        table = np.zeros((512 * 8, 256))
        for scene in scenes[:30]:
            np.add.at(table, (codes(scene, with_row), scene.labels.ravel()), 1)
        guess, confusion = table[:, :19].argmax(axis=1), np.zeros((19, 19))
        for scene in scenes[30:]:
            truth, found = scene.labels.ravel(), guess[codes(scene, with_row)]
            np.add.at(confusion, (truth[truth < 19], found[truth < 19]), 1)
        right = np.diag(confusion)
        return np.mean(right / np.maximum(confusion.sum(0) + confusion.sum(1) - right, 1))

    assert mean_iou(False) < 0.15
    assert 0.08 < mean_iou(True) < 0.25


def test_camera_projects_ground_and_back():
    camera = Camera(100, 200, focal=170.0, horizon=45.0, eye=1.5, yaw=0.1, bend=0.001)
    world = np.array([[2.0, 0.0, 8.0], [-3.0, 0.0, 30.0]])
    column, row = camera.pixels(camera.view(world)).T
    x, z = camera.ground(row, column)
    # the bend is undone with the z of the unbent street: exact up to its square
    assert np.allclose(z, world[:, 2], rtol=0.01) and np.allclose(x, world[:, 0], atol=0.1)


def test_clipping_cuts_at_the_near_plane():
    square = np.array([[-1.0, 0, -1], [1, 0, -1], [1, 0, 3], [-1, 0, 3]])
    clipped = clip_near(square)
    assert len(clipped) == 4 and clipped[:, 2].min() == pytest.approx(0.6)
    assert clip_near(square - [0, 0, 5]).size == 0
    assert clip_near(square + [0, 0, 5]).shape == (4, 3)


def block(x0, x1, z0, z1):
    return Prop((x0, z0), (x1, z1), lambda painter: None, cuboid((x0, 0, z0), (x1, 2, z1)))


def test_painters_order():
    tram, behind, beside = block(-4, -2, 5, 30), block(-3, -1, 32, 40), block(-8, -6, 8, 12)
    house, pole = block(8, 20, 4, 25), block(6, 6.2, 10, 10.2)
    for order in ([tram, behind, beside, house, pole], [pole, house, beside, behind, tram]):
        ordered = back_to_front(order)
        assert len(ordered) == 5
        assert ordered.index(beside) < ordered.index(tram)  # between it and the camera
        assert ordered.index(behind) < ordered.index(tram)
        assert ordered.index(house) < ordered.index(pole)


def test_what_lies_apart_in_the_picture_does_not_decide_the_order():
    """A car ahead, beyond the one at the side, must not bring the tram between them forward."""
    tram, beside, ahead = block(-4, -2, 5, 30), block(-8, -6, 8, 12), block(-1, 1, 20, 24)
    for order in ([tram, beside, ahead], [ahead, beside, tram], [beside, tram, ahead]):
        ordered = back_to_front(order)
        assert ordered.index(beside) < ordered.index(tram)


# ---------------------------------------------------------------------------------------- Cityscapes


def snapshot(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob('*') if p.is_file()}


def test_mmseg_reads_it(tmp_path):
    dataset = pytest.importorskip('mmseg.datasets').CityscapesDataset
    assert write_cityscapes(tmp_path / 'toy', (64, 128), 3, 2, 5) == 5
    for split, count in (('train', 3), ('val', 2)):
        found = dataset(
            data_root=str(tmp_path / 'toy'),
            data_prefix=dict(img_path=f'leftImg8bit/{split}', seg_map_path=f'gtFine/{split}'),
            pipeline=[dict(type='LoadImageFromFile'), dict(type='mmseg.LoadAnnotations')],
        )
        assert len(found) == count
        first = FIRST_SCENE[split]
        for number, sample in enumerate(found):
            scene = render_scene(64, 128, 5, first + number)
            assert np.array_equal(sample['img'][..., ::-1], scene.image)
            assert np.array_equal(sample['gt_seg_map'], scene.labels)


def test_a_stopped_run_goes_on_and_ends_with_the_same_bytes(tmp_path):
    options = dict(size=(64, 64), train=4, val=2, seed=1)
    write_cityscapes(tmp_path / 'whole', **options)

    class Stop(Exception):
        pass

    def stop_after_three(scenes, total):
        assert total == 6
        yield from itertools.islice(scenes, 3)
        raise Stop

    with pytest.raises(Stop):
        write_cityscapes(tmp_path / 'parts', **options, progress=stop_after_three)
    kept = snapshot(tmp_path / 'parts')
    assert len(kept) == 7  # three pairs and the manifest
    next((tmp_path / 'parts').rglob('*labelTrainIds.png')).unlink()
    assert write_cityscapes(tmp_path / 'parts', **options) == 4
    assert snapshot(tmp_path / 'parts') == snapshot(tmp_path / 'whole')
    assert write_cityscapes(tmp_path / 'parts', **options) == 0


def test_any_number_of_processes_writes_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, '_FEW', 4)
    for jobs in (1, 2):
        write_cityscapes(tmp_path / str(jobs), (64, 64), 6, 3, jobs=jobs)
    assert snapshot(tmp_path / '1') == snapshot(tmp_path / '2')


@pytest.mark.parametrize(
    'change', [dict(size=(64, 96)), dict(train=2), dict(val=3), dict(seed=9)], ids=str
)
def test_other_options_are_refused(tmp_path, change):
    options = dict(size=(64, 64), train=1, val=1, seed=0)
    write_cityscapes(tmp_path, **options)
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match='remove it or choose another folder'):
        write_cityscapes(tmp_path, **(options | change))
    assert snapshot(tmp_path) == before


def test_another_renderer_version_is_refused(tmp_path):
    write_cityscapes(tmp_path, (64, 64), 1, 1)
    manifest = tmp_path / 'manifest.json'
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {'scenes_version': '0'}))
    with pytest.raises(InputError, match='scenes_version 0 instead of'):
        write_cityscapes(tmp_path, (64, 64), 1, 1)
    manifest.write_text('{')
    with pytest.raises(InputError, match='not a manifest'):
        write_cityscapes(tmp_path, (64, 64), 1, 1)
    manifest.write_text('[1]')  # another program's
    with pytest.raises(InputError, match='not a manifest'):
        write_cityscapes(tmp_path, (64, 64), 1, 1)


def test_what_a_kill_left_of_the_manifest_is_nobodys(tmp_path):
    (tmp_path / '.manifest.0123456789ab.json').write_text('{')
    assert write_cityscapes(tmp_path, (64, 64), 1, 1) == 2


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / 'thesis.tex').write_text('years of work')
    with pytest.raises(InputError, match='not empty'):
        write_cityscapes(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ['thesis.tex']


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(size=(32, 512)), '32x512'),
        (dict(train=0), 'at least one'),
        (dict(val=-1), 'at least one'),
        (dict(seed=-1), 'negative'),
    ],
)
def test_options_out_of_range(tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        write_cityscapes(tmp_path / 'toy', **options)
    assert not (tmp_path / 'toy').exists()


def test_command_line(tmp_path):
    def run(*arguments):
        command = [warm_python.python(), str(ROOT / 'tools/make_toy_dataset.py'), *arguments]
        environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    toy = str(tmp_path / 'toy')
    done = run('cityscapes', toy, '--size', '64x64', '--train', '2', '--val', '1')
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f'{toy}: 2 + 1 scenes, 3 of them new'
    refused = run('cityscapes', toy, '--size', '64x64', '--train', '3', '--val', '1')
    assert refused.returncode == 2 and 'Traceback' not in refused.stderr
    assert refused.stderr.splitlines()[-1].startswith(
        f'error: {toy} contains a dataset with train 2'
    )
