"""ImageNet's subsets: the right class for every folder, and nothing else may be predicted."""

import pytest
import torch

from fan_mm.errors import InputError
from fan_mm.evaluation.class_names import wordnet_ids
from fan_mm.evaluation.imagenet_subsets import FOLDER_SETS, correct_counts

A = FOLDER_SETS['imagenet_a'].indices()
R = FOLDER_SETS['imagenet_r'].indices()


def wordnet(indices):
    return [wordnet_ids()[index] for index in indices]


def test_subsets():
    assert len(set(A)) == len(set(R)) == 200 and sorted(A) == A and sorted(R) == R
    assert A[:3] == [6, 11, 13] and A != R
    assert FOLDER_SETS['imagenet_a'].classes(wordnet(A)) == A
    assert FOLDER_SETS['imagenet_r'].classes(wordnet(R)) == R
    numbers = sorted(map(str, range(1000)))
    assert FOLDER_SETS['imagenet_v2'].classes(numbers)[:4] == [0, 1, 10, 100]
    assert FOLDER_SETS['imagenet_sketch'].classes(wordnet(range(1000))) == list(range(1000))


def test_restricted_before_arg_max():
    logits = torch.tensor([[9.0, 1, 2, 3], [9, 4, 1, 0]])
    assert correct_counts(logits, torch.tensor([1, 0]), [1, 3]) == [2, 2]
    assert correct_counts(logits, torch.tensor([0, 1]), [1, 3]) == [0, 2]


@pytest.mark.parametrize('place', range(8))
def test_the_first_and_the_first_five(place):
    scores = torch.zeros(1, 20)
    scores[0, 3:11] = torch.arange(8.0, 0, -1)
    scores[0, 11] = 99
    classes = [*range(3, 11), 15, 19]  # not 11
    found = correct_counts(scores, torch.tensor([place]), classes)
    assert found == [int(place == 0), int(place < 5)]


def test_folders_of_other_names():
    sets, numbers = FOLDER_SETS, sorted(map(str, range(1000)))
    for name in ('imagenet_v2', 'imagenet_sketch'):
        assert sets[name].classes(wordnet(range(1000))) == list(range(1000))
        assert sets[name].classes(numbers) == [int(number) for number in numbers]
        padded = [f'{i:04d}' for i in range(1000)]
        assert sets[name].classes(padded) == list(range(1000))
    assert sets['imagenet_a'].classes(sorted(map(str, A))) == [int(n) for n in sorted(map(str, A))]
    named = [f'{name}_goldfish' for name in wordnet(R)]
    assert sets['imagenet_r'].classes(named) == R
    for names in (
        sorted(map(str, range(200))),  # ImageNet's first 200, or positions? Nobody knows
        ['²', *numbers[1:]],
        [*wordnet(A[1:]), 'n00000000 copy'],
        ['__MACOSX', *wordnet(A[1:])],
    ):
        with pytest.raises(InputError, match='class folders named by WordNet id'):
            sets['imagenet_a' if len(names) == 200 else 'imagenet_v2'].classes(names)


@pytest.mark.parametrize(
    ('name', 'folders', 'words'),
    [
        ('imagenet_a', wordnet(R), '200 folders of ImageNet-R'),
        ('imagenet_r', wordnet(A), '200 folders of ImageNet-A'),
        ('imagenet_a', wordnet(range(200)), '200 folders of other classes of ImageNet'),
        (
            'imagenet_v2',
            [*wordnet(range(999)), 'n99999999'],
            '1000 folders of which 1 are not classes of ImageNet',
        ),
    ],
)
def test_as_many_folders_of_other_classes(name, folders, words):
    with pytest.raises(InputError, match=f'not {FOLDER_SETS[name].name}: .* there are {words}$'):
        FOLDER_SETS[name].classes(sorted(folders))


def test_ids_that_are_none_of_imagenets_say_nothing_but_their_order():
    assert FOLDER_SETS['imagenet_r'].classes([f'n{i:08d}' for i in range(200)]) == R
