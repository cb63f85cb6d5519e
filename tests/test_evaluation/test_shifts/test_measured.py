"""What is known of a condition's images: their names, what they show, and a hash that no folder changes."""

import numpy as np
from mmengine.dataset import BaseDataset

from fan_mm.evaluation.shifts.measured import Measured, arrays_of, pictures_of, scenes_of
from fan_mm.evaluation.shifts.pooling import ShiftCell

FOG = ShiftCell('foggy', 'beta_0.02')


def dataset(folder, names, labels=None, boxes=None):
    """Images of two bytes more each; label files and boxes where they are given."""
    infos = []
    for i, name in enumerate(names):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b'x' * (2 * i + 1))
        infos.append(dict(img_path=str(file)))
        if labels:
            infos[-1]['seg_map_path'] = str(folder / labels[i])
        if boxes:
            infos[-1]['instances'] = [dict(bbox=box, bbox_label=0) for box in boxes[i]]
    found = BaseDataset(lazy_init=True, serialize_data=False)
    found.data_list, found._fully_initialized = infos, True
    return found


def test_images_with_one_label_file_show_one_scene(tmp_path):
    names = ['a/1_fog1.png', 'a/1_fog2.png', 'b/2_fog1.png']
    found = pictures_of(
        FOG, dataset(tmp_path, names, ['gt/1.png', 'gt/1.png', 'gt/2.png']), [2, 0, 1]
    )
    assert found.keys.tolist() == ['b/2_fog1', 'a/1_fog1', 'a/1_fog2']
    assert found.scenes.tolist() == ['gt/2', 'gt/1', 'gt/1']


def test_files_of_one_name_in_two_conditions_show_two_scenes(tmp_path):
    found = [
        pictures_of(ShiftCell('coco_o', c), dataset(tmp_path, ['val/1.jpg']), [0]) for c in 'ab'
    ]
    assert [pictures.scenes.tolist() for pictures in found] == [
        ['coco_o/a/val/1'],
        ['coco_o/b/val/1'],
    ]
    assert found[0].keys.tolist() == ['val/1'] and found[0].sha256 == found[1].sha256


def test_the_hash_is_of_names_sizes_and_boxes_wherever_they_lie(tmp_path):
    names, boxes = ['v/1.png', 'v/2.png'], [[[0, 0, 5, 5]], [np.array([1, 1, 4, 4])]]

    def digest(folder, names=names, samples=(0, 1), **options):
        return pictures_of(FOG, dataset(tmp_path / folder, names, **options), samples).sha256

    plain, boxed = digest('a'), digest('a', boxes=boxes)
    labels = dict(labels=['v/1.png', 'v/2.png'])
    assert plain == digest('b') and boxed == digest('b', boxes=boxes)
    others = [
        boxed,
        digest('a', samples=(0,)),
        digest('a', samples=(1, 0)),
        digest('a', names=['v/1.png', 'v/3.png']),
        digest('a', names=['v/1.png', 'v/0.png', 'v/2.png'], samples=(0, 2)),  # a larger file
        digest('a', boxes=[boxes[0], boxes[0]]),
        digest('a', **labels),
    ]
    assert len({plain, *others}) == 1 + len(others)


def test_arrays_of_what_has_statistics():
    keys, sums = np.array(['a', 'b']), np.ones((2, 2, 3))
    fog = Measured(FOG, None, 2, keys=keys, scenes=keys[::-1], statistics=sums)
    for kind, name in (('iou', 'sums'), ('calibration', 'sums'), ('resampled', 'draws')):
        arrays = arrays_of(kind, [fog], {FOG: sums})
        assert str(arrays.pop('kind')) == kind
        assert arrays.keys() == {f'{what}/foggy/beta_0.02' for what in (name, 'keys', 'scenes')}
        assert arrays['keys/foggy/beta_0.02'] is keys
        assert np.array_equal(scenes_of([fog])[FOG], arrays['scenes/foggy/beta_0.02'])
    assert arrays_of('iou', [], {}) is None
