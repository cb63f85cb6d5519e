"""Every set's files in the nestings people have them in: each picture once, with its own label."""

from pathlib import Path

import pytest
from shift_trees import ACDC, LAYOUTS, LISTS, acdc, flat, found, plant

from fan_mm import folders
from fan_mm.datasets.shifts import SHIFT_SETS
from fan_mm.datasets.shifts.pairs import Named, by_folder
from fan_mm.datasets.shifts.paths import below, nearest, walked_once
from fan_mm.errors import InputError

SEGMENTATION = [name for name, record in SHIFT_SETS.items() if record.task == 'segmentation']


@pytest.mark.parametrize('layout', LAYOUTS)
def test_layouts(layout, tmp_path):
    name, pairs, others, options = LAYOUTS[layout]
    plant(tmp_path, *others, *flat(pairs))
    if layout in LISTS:
        file, lines = LISTS[layout]
        plant(tmp_path, file, content='\n'.join(lines) + '\n')
    assert found(tmp_path, name, **options) == pairs
    assert list(found(tmp_path, name, **options)) == list(pairs)  # conditions in their order


def test_every_set_has_a_layout():
    assert {name for name, *_ in LAYOUTS.values()} == set(SEGMENTATION)


@pytest.mark.parametrize('name', ('foggy_cityscapes', 'rain_cityscapes'))
def test_labels_of_cityscapes(name, tmp_path):
    pairs = {
        'foggy_cityscapes': LAYOUTS['foggy cityscapes'],
        'rain_cityscapes': LAYOUTS['raincityscapes'],
    }[name][1]
    pictures = [picture for of_one in pairs.values() for picture, _ in of_one]
    root = plant(tmp_path / 'set', *pictures)
    with pytest.raises(
        InputError, match=r'it uses the labels of Cityscapes: give --cityscapes DIR$'
    ):
        found(root, name)
    cityscapes = plant(tmp_path / 'cityscapes', *(label for v in pairs.values() for _, label in v))
    conditions = SHIFT_SETS[name].find(root, labels=cityscapes)
    assert [c.name for c in conditions] == list(pairs)
    for condition in conditions:
        assert condition.labels_folder == cityscapes
        assert [str(p.relative_to(cityscapes)) for p in condition.labels] == [
            label for _, label in pairs[condition.name]
        ]
    for path in list(cityscapes.rglob('*.png')):
        path.unlink()
    with pytest.raises(InputError, match='no labels below'):
        SHIFT_SETS[name].find(root, labels=cityscapes)


def test_pictures_without_a_label_are_named(tmp_path):
    plant(tmp_path, *flat(acdc()))
    lost = 'rgb_anon/fog/val/GP0100/GP01000_frame_000077_rgb_anon.png'
    plant(tmp_path, lost)
    fog, night, *_ = SHIFT_SETS['acdc'].find(tmp_path)
    assert fog.unlabelled == (tmp_path / lost,) and night.unlabelled == ()
    assert len(fog.images) == len(fog.labels) == 1
    (tmp_path / flat({'night': acdc()['night']})[1]).unlink()
    conditions = SHIFT_SETS['acdc'].find(tmp_path)
    assert [c.name for c in conditions] == ['fog', 'rain', 'snow']
    assert conditions[0].notes == ('night: none of its 1 images has a label',)


@pytest.mark.parametrize(
    ('layout', 'encoding', 'notes'),
    [
        ('acdc', 'train_ids', ()),
        (
            'acdc, flattened copies beside the original',
            'train_ids',
            (
                '4 duplicate copies left out, such as rgb_anon/val/GP01000_frame_000000_rgb_anon.png',
            ),
        ),
        (
            'acdc, flattened, the condition lost',
            'train_ids',
            ('3 images are not in a folder that names a condition',),
        ),
        (
            'dark zurich, nested and flattened',
            'label_ids',
            ('1 images are not in a folder that names a condition',),
        ),
        ('acdc, labels withheld', '', ()),
        ('cityscapes, zips, labelIds', 'label_ids', ()),
        (
            'foggy zurich, no list',
            'train_ids',
            ('no list RGB_testv2_filenames.txt: using all 1 labelled images',),
        ),
        ('idd I and II', 'idd_level3', ()),
        ('idd, csTrainIds', 'idd_train_ids', ()),
        ('wilddash, older', 'wilddash', ()),
        ('mapillary 2.0', 'mapillary_a', ()),
        ('mapillary 2.0, our own map', 'mapillary_v2', ()),
    ],
)
def test_encoding_and_notes(layout, encoding, notes, tmp_path):
    name, pairs, others, options = LAYOUTS[layout]
    plant(tmp_path, *others, *flat(pairs))
    for condition in SHIFT_SETS[name].find(tmp_path, **options):
        assert (condition.encoding, condition.notes) == (encoding, notes)
        assert condition.split == options.get('split', SHIFT_SETS[name].splits[0])


@pytest.mark.parametrize('encoding', ('mapillary_b', 'mapillary_c'))
def test_the_map_is_a_choice(encoding, tmp_path):
    plant(tmp_path, 'validation/images/a.jpg', 'validation/labels/a.png')
    (condition,) = SHIFT_SETS['mapillary'].find(tmp_path, encoding=encoding)
    assert condition.encoding == encoding


def test_png_counts_where_a_picture_is_there_as_jpg_too(tmp_path):
    pairs = acdc()
    plant(tmp_path, *flat(pairs))
    plant(tmp_path, *flat(acdc(suffix='jpg')), content='other bytes')
    assert found(tmp_path, 'acdc') == pairs


def test_two_sets_with_equal_names_side_by_side(tmp_path):
    """Each from its own folder, whatever lies in the other."""
    frame = 'GOPR0356/GOPR0356_frame_000321'
    plant(tmp_path / 'acdc', f'rgb_anon/night/val/{frame}_rgb_anon.png')
    plant(tmp_path / 'acdc', f'gt/night/val/{frame}_gt_labelTrainIds.png')
    plant(tmp_path / 'dz', f'rgb_anon/val/night/{frame}_rgb_anon.png')
    plant(tmp_path / 'dz', f'gt/val/night/{frame}_gt_labelTrainIds.png')
    for name, folder in (('acdc', 'acdc'), ('dark_zurich', 'dz')):
        assert len(found(tmp_path / folder, name)['night']) == 1
        with pytest.raises(
            InputError, match=r'is not .*: .*GOPR0356_frame.* belongs to (ACDC|Dark Zurich)'
        ):
            found(tmp_path, name)


def test_links_are_followed_but_not_in_circles(tmp_path):
    plant(tmp_path / 'disk', *flat(acdc()))
    (tmp_path / 'data').mkdir()
    for name in ('rgb_anon', 'gt'):
        (tmp_path / 'data' / name).symlink_to(tmp_path / 'disk' / name)
    (tmp_path / 'disk' / 'rgb_anon' / 'fog' / 'up').symlink_to(tmp_path / 'disk')
    assert found(tmp_path / 'data', 'acdc') == acdc()


def test_a_list_of_pictures_and_labels_in_absolute_paths(tmp_path):
    plant(tmp_path, *flat(acdc()))
    picture, label = acdc()['rain'][0]
    plant(tmp_path, 'rain.txt', content=f'/data/them/{picture} /data/them/{label}\n')
    assert found(tmp_path, 'acdc', 'rain.txt') == {'rain': [(picture, label)]}
    assert found(tmp_path, 'acdc', str(tmp_path / 'rain.txt')) == {'rain': [(picture, label)]}


def test_a_list_of_pictures_whose_labels_are_withheld(tmp_path):
    """As of the whole split; of another split's pictures labels are still wanted."""
    pairs = acdc(split='test')
    plant(tmp_path, *(picture for ((picture, _),) in pairs.values()))
    plant(tmp_path, 'two.txt', content='\n'.join(pairs[c][0][0] for c in ('fog', 'rain')))
    expected = {c: [(pairs[c][0][0], None)] for c in ('fog', 'rain')}
    assert found(tmp_path, 'acdc', 'two.txt') == expected
    val = acdc()['fog'][0][0]
    plant(tmp_path, val)
    plant(tmp_path, 'two.txt', content=f'{val}\n{pairs["rain"][0][0]}')
    with pytest.raises(InputError, match='no labels below'):
        found(tmp_path, 'acdc', 'two.txt')


def test_a_list_that_is_not_there_is_not_another_of_its_name(tmp_path):
    picture, label = acdc()['rain'][0]
    plant(tmp_path, *flat(acdc()))
    plant(tmp_path, 'lists/rain.txt', content=picture)
    for there in ('rain.txt', 'lists/rain.txt'):
        assert found(tmp_path, 'acdc', there) == {'rain': [(picture, label)]}
    for gone in ('list/rain.txt', '/mine/lists/rain.txt'):
        with pytest.raises(InputError, match=f'no list {gone} below'):
            found(tmp_path, 'acdc', gone)


def test_a_file_of_a_splits_name_is_not_the_split(tmp_path, monkeypatch):
    plant(tmp_path, *flat(acdc()), 'val')
    monkeypatch.chdir(tmp_path)
    (condition, *_) = SHIFT_SETS['acdc'].find(tmp_path)
    assert SHIFT_SETS['acdc'].dataset(condition)['split'] == 'val'


@pytest.mark.parametrize('condition', ACDC)
def test_a_line_of_a_list_means_the_picture_in_its_folders(condition, tmp_path):
    """Of those that have its name."""
    pictures = {c: f'rgb_anon/{c}/val/S/S_frame_1_rgb_anon.png' for c in ACDC}
    labels = {c: f'gt/{c}/val/S/S_frame_1_gt_labelTrainIds.png' for c in ACDC}
    plant(tmp_path, *pictures.values(), *labels.values())
    plant(tmp_path, 'one.txt', content=f'{condition}/val/S/S_frame_1_rgb_anon.png')
    pair = pictures[condition], labels[condition]
    assert found(tmp_path, 'acdc', 'one.txt') == {condition: [pair]}


def test_lists_of_raincityscapes_leave_out_a_part_of_the_names(tmp_path):
    name, pairs, *_ = LAYOUTS['raincityscapes']
    plant(tmp_path, *flat(pairs))
    (condition, files), *_ = pairs.items()
    line = Path(files[1][0]).name.replace('_leftImg8bit', '')
    plant(tmp_path, 'val.txt', content=line)
    assert found(tmp_path, name, 'val.txt') == {condition: [files[1]]}


@pytest.mark.parametrize(
    ('layout', 'label', 'split'),
    [
        ('acdc', 'gt/fog/{split}/GP0100/GP01000_frame_000077_gt_labelIds.png', 'val'),
        ('wilddash, older', 'labels/{split}wd0077_1.png', ''),  # its folders name no split
        ('mapillary 2.0', '{split}/v1.2/labels/lost.png', 'validation'),
    ],
)
def test_labels_without_a_picture_are_noted(layout, label, split, tmp_path):
    """As after an interrupted copy; not those of another split."""
    name, pairs, others, options = LAYOUTS[layout]
    lost = label.format(split=split)
    plant(tmp_path, *others, *flat(pairs), lost, label.format(split='train') if split else lost)
    for condition in SHIFT_SETS[name].find(tmp_path, **options):
        assert condition.notes == (f'1 labels have no image, such as {lost}',)


@pytest.mark.parametrize('size', ('as large', 'larger or smaller'))
def test_equal_names_in_other_splits_and_conditions(size, tmp_path):
    """A made-up tree may use one name everywhere: neither pictures nor labels are confused."""
    pairs = {
        c: [
            (
                f'rgb_anon/{c}/val/S/S_frame_1_rgb_anon.png',
                f'gt/{c}/val/S/S_frame_1_gt_labelTrainIds.png',
            )
        ]
        for c in ACDC
    }
    for number, path in enumerate(flat(pairs)):
        content = 'x' * (number + 1) if size != 'as large' else 'x'
        plant(tmp_path, path, content=content)
        plant(tmp_path, path.replace('/val/', '/train/'), content=content + 'y')
    assert found(tmp_path, 'acdc') == pairs
    assert SHIFT_SETS['acdc'].find(tmp_path)[0].notes == ()


def test_a_folder_is_walked_once(tmp_path, monkeypatch):
    """Finding a set, and each condition again for its dataset; afterwards files are looked for anew."""
    walked, walk = [], folders.files_below
    monkeypatch.setattr(folders, 'files_below', lambda *a: walked.append(a) or walk(*a))
    plant(tmp_path, *flat(acdc()))
    with walked_once():
        for _ in range(3):
            assert found(tmp_path, 'acdc') == acdc()
            with walked_once():
                assert found(tmp_path / '.' / 'gt' / '..', 'acdc')
        assert len(walked) == 1
    plant(tmp_path, 'rgb_anon/fog/val/GP0100/GP01000_frame_000001_rgb_anon.png')
    plant(tmp_path, 'gt/fog/val/GP0100/GP01000_frame_000001_gt_labelTrainIds.png')
    assert len(found(tmp_path, 'acdc')['fog']) == 2


@pytest.mark.parametrize(
    ('path', 'split', 'condition'),
    [
        ('rgb_anon/fog/val/S/S_frame_1_rgb_anon.png', 'val', 'fog'),
        ('rgb_anon/fog/val_ref/S/S_frame_1_rgb_ref_anon.png', 'val_ref', 'fog'),
        # the file's own name tells a reference image in whatever folder
        ('rgb_anon/fog/val/S/S_frame_1_rgb_ref_anon.png', 'val_ref', 'fog'),
        ('gt/fog/val_ref/S/S_frame_1_gt_labelIds.png', 'val', 'fog'),
        ('S_frame_1_rgb_ref_anon.png', '', ''),
    ],
)
def test_reference_images_of_acdc_by_their_names(path, split, condition):
    found = SHIFT_SETS['acdc'].recognise(path.split('/'))
    assert (found.split, found.condition) == (split, condition)
    assert found.key.endswith('_ref') == ('_ref_anon' in path)


def test_the_label_in_the_nearest_folders_is_the_pictures(tmp_path):
    """Another one of its name, which tells less of where it belongs, is not compared with it."""
    picture = 'rgb_anon/fog/val/S/S_frame_1_rgb_anon.png'
    labels = [f'{f}/S_frame_1_gt_labelTrainIds.png' for f in ('gt/fog/val/S', 'gt/fog/S', 'gt')]
    plant(tmp_path, picture)
    while labels:
        for place, label in enumerate(labels):
            plant(tmp_path, label, content=f'{len(labels)} {place}')
        assert found(tmp_path, 'acdc') == {'fog': [(picture, labels[0])]}
        (tmp_path / labels.pop(0)).unlink()


def test_what_the_names_of_folders_say():
    parts = ('RGB', 'val', 'a', 'Val', 'b', 'x.png')
    assert nearest(parts, ('val', 'train')) == 'val' and nearest(parts, ('a', 'b')) == 'b'
    assert nearest(('a', 'val'), ('val',)) == ''  # a file is no folder
    assert below(parts, ('rgb',)) == 'val/a/Val/b' and below(parts, ('val', 'rgb')) == 'b'
    assert below(parts, ('test',)) == 'b' and below(('x.png',), ('test',)) == ''


@pytest.mark.parametrize(
    ('path', 'named'),
    [
        ('val/Images/a.b.JPG', Named('a.b', split='val')),
        ('val/labels/a.png', Named('a', ('label_ids',), 'val', rank=1)),
        ('val/labels/older/a.png', Named('a', ('label_ids',), 'val', rank=2)),
        ('val/labels/a.jpg', None),  # labels lose nothing
        ('val/labels/instances/a.png', None),
        ('images/a.json', None),
        ('a.png', None),
    ],
)
def test_images_and_labels_of_one_name_in_different_folders(path, named):
    folders = {'images': (), 'labels': ('label_ids',), 'older': ('label_ids',), 'instances': None}
    assert by_folder(path.split('/'), folders, ('val',)) == named
