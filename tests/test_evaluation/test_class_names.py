"""Names that people read."""

import json
from types import SimpleNamespace

import pytest

from fan_mm.evaluation.class_names import are_imagenet, palette_of, readable, short, with_word
from fan_mm.evaluation.scope import default_benchmark

IDS = ['n01440764', 'n01443537', 'n02012849', 'n03126707']


def all_words(repo_root):
    path = repo_root / 'fan_mm/evaluation/data/imagenet_classes.json'
    return json.loads(path.read_text())['classes']


def all_ids(repo_root):
    return list(all_words(repo_root))


@pytest.mark.parametrize(
    ('palette', 'found'),
    [
        ([(1, 2, 3), [4.0, 5, 6], (7, 8, 9)], [[1, 2, 3], [4, 5, 6]]),  # COCO's 80 for two classes
        (['#ff0000', 'red'], None),
        ([0, 0, 0, 255, 0, 0], None),
        ('random', None),
        (None, None),
    ],
)
def test_colours_of_the_classes(palette, found):
    assert palette_of({'palette': palette}, 2) == found


def test_words_of_every_class_are_mmpretrain_s(repo_root):
    categories = pytest.importorskip('mmpretrain.datasets.categories').IMAGENET_CATEGORIES
    ids = all_ids(repo_root)
    assert ids == sorted(ids) and len(set(ids)) == 1000
    # the first words: mmpretrain's Latin has slips
    for ours, theirs in zip(readable(ids), readable(categories), strict=True):
        assert ours.split(',')[0].lower() == theirs.split(',')[0].lower()


@pytest.mark.parametrize(
    ('classes', 'names'),
    [
        (IDS[:2], ['tench, Tinca tinca', 'goldfish, Carassius auratus']),
        (IDS[2:], ['crane (0)', 'crane (1)']),
        ([*IDS[:1], 'dog'], ['n01440764', 'dog']),
        (['n99999999'], ['n99999999']),
        (['a', 'b', 'a'], ['a (0)', 'b', 'a (2)']),
        ([0, 1], ['0', '1']),
        ([], []),
    ],
)
def test_readable(classes, names):
    assert readable(classes) == names


@pytest.mark.parametrize(
    ('names', 'shown'),
    [
        (['tench, Tinca tinca', 'maze'], ['tench', 'maze']),
        (['maillot', 'maillot, tank suit'], ['maillot', 'maillot, tank suit']),
        (['cardigan', 'Cardigan, Welsh corgi'], ['cardigan', 'Cardigan, Welsh corgi']),
        (['crane (0)', 'crane (1)', ', odd'], ['crane (0)', 'crane (1)', ', odd']),
        ([], []),
    ],
)
def test_short(names, shown):
    assert short(names) == shown


def test_short_names_of_imagenet_are_each_another(repo_root):
    names = short(readable(all_ids(repo_root)))
    assert names[0] == 'tench' and len({name.lower() for name in names}) == 1000


def test_what_the_folder_of_a_picture_means():
    assert with_word('val/n01440764/ILSVRC2012_val_00000293') == (
        'val/n01440764/ILSVRC2012_val_00000293 (tench)'
    )
    for key in ('n99999999/x', 'n014407640/x', 'frankfurt/000000', ''):
        assert with_word(key) == key


def test_folders_of_imagenet_s_classes_are_imagenet(repo_root):
    def benchmark(classes):
        return default_benchmark(SimpleNamespace(metainfo={'classes': tuple(classes)}))

    ids = all_ids(repo_root)
    assert are_imagenet(ids) and benchmark(ids) == 'imagenet-c'
    assert benchmark(ids[:999]) == benchmark(ids[::-1]) == benchmark(map(str, range(1000))) == 'all'
    assert default_benchmark(SimpleNamespace()) == 'all'
    words = list(all_words(repo_root).values())
    for names in ([f'{i}_{w}' for i, w in zip(ids, words, strict=True)], words, short(words)):
        assert benchmark(names) == 'imagenet-c' and benchmark(sorted(names)[::-1]) == 'all'
