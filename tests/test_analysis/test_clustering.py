"""Spectral clustering of tokens: planted groups, numpy's eigenvalues, stable labels."""

import itertools

import numpy as np
import pytest
from reference.clustering import affinity, spectral_labels
from sklearn.metrics import adjusted_rand_score

from fan_mm.analysis.clustering import (
    cluster_tokens,
    clusters_from_eigenvalues,
    leading_eigenvectors,
    match_labels,
    normalise_tokens,
)
from fan_mm.errors import InputError


def planted(grid, clusters, channels=384, noise=0.5, seed=0):
    """Tokens of a grid that belong to known groups, and the groups."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, clusters, grid)
    centres = rng.normal(0, 1.5, (clusters, channels))
    tokens = centres[groups.ravel()] + rng.normal(0, noise, (groups.size, channels))
    return tokens, groups


@pytest.mark.parametrize('clusters', [2, 3, 5, 8])
@pytest.mark.parametrize('grid', [(28, 28), (64, 128)], ids=['paper', 'street scene'])
def test_planted_groups_are_recovered_and_counted(grid, clusters):
    tokens, groups = planted(grid, clusters)
    for asked in (None, clusters):
        found = cluster_tokens(tokens, grid, asked)
        assert found.labels.shape == grid
        assert len(found.eigenvalues) == 11  # ten gaps
        assert adjusted_rand_score(groups.ravel(), found.labels.ravel()) > 0.99


def test_another_number_of_clusters_on_request():
    tokens, _ = planted((20, 20), 3)
    assert len(np.unique(cluster_tokens(tokens, (20, 20), 5).labels)) == 5


@pytest.mark.parametrize('grid', [(3, 5), (24, 24), (32, 64)])
@pytest.mark.parametrize('noise', [0.5, 2.5])  # with the latter the grouping is not obvious
def test_labels_are_those_of_spectral_clustering(grid, noise):
    tokens, _ = planted(grid, 4, noise=noise)
    labels = cluster_tokens(tokens, grid, 4).labels
    assert adjusted_rand_score(spectral_labels(tokens, 4), labels.ravel()) > 0.97


def test_few_tokens():
    """Fewer eigenvectors than `auto` looks at are enough for a number that is asked for."""
    tokens = np.repeat(np.eye(3), 3, axis=0) * 10 + np.random.default_rng(0).normal(0, 0.1, (9, 3))
    found = cluster_tokens(tokens, (3, 3), 3)
    assert adjusted_rand_score(np.repeat([0, 1, 2], 3), found.labels.ravel()) == 1
    assert len(found.eigenvalues) == 8
    assert cluster_tokens(tokens, (3, 3), 7).labels.shape == (3, 3)
    for clusters in (8, None):
        with pytest.raises(InputError, match='9 tokens are too few'):
            cluster_tokens(tokens, (3, 3), clusters)


def test_eigenvectors_are_those_of_the_matrix():
    tokens, _ = planted((9, 11), 3, channels=16, noise=1.0)
    matrix = affinity(tokens)
    np.testing.assert_allclose(matrix, normalise_tokens(tokens) @ normalise_tokens(tokens).T)
    np.fill_diagonal(matrix, 0)
    scale = 1 / np.sqrt(matrix.sum(1))
    expected, vectors = np.linalg.eigh(scale[:, None] * matrix * scale)
    values, embedding = leading_eigenvectors(tokens, 5)
    np.testing.assert_allclose(values, expected[::-1][:5], atol=1e-10)
    for i in range(5):
        cosine = (embedding[:, i] / scale) @ vectors[:, -1 - i]
        assert abs(cosine) == pytest.approx(1, abs=1e-8)


def test_channels_become_distributions_over_tokens():
    rng = np.random.default_rng(0)
    tokens = rng.normal(5, 3, (7, 4))
    normalised = normalise_tokens(tokens)
    np.testing.assert_allclose(normalised.sum(0), 1)
    standard = (tokens - tokens.mean(1, keepdims=True)) / tokens.std(1, keepdims=True)
    expected = np.exp(standard) / np.exp(standard).sum(0)
    np.testing.assert_allclose(normalised, expected, rtol=1e-5)
    np.testing.assert_allclose(normalise_tokens(100 * tokens - 30), normalised, rtol=1e-5)


def test_channels_that_are_large_everywhere_hide_nothing():
    tokens, groups = planted((28, 28), 4)
    tokens[:, :3] += 40  # as in trained transformers
    labels = cluster_tokens(tokens, (28, 28), 4).labels
    assert adjusted_rand_score(groups.ravel(), labels.ravel()) > 0.99


def test_the_same_token_over_and_over():
    labels = cluster_tokens(np.repeat(np.eye(3), 40, axis=0) * 1e4, (10, 12), 3).labels.ravel()
    assert adjusted_rand_score(np.repeat([0, 1, 2], 40), labels) == 1


def test_the_gap_of_the_eigenvalues():
    assert clusters_from_eigenvalues(np.array([1, 0.9, 0.2, 0.1, 0.05])) == 2
    assert clusters_from_eigenvalues(np.array([1, 0.9, 0.85, 0.1, 0.05])) == 3
    assert clusters_from_eigenvalues(np.array([1, 0.2, 0.19, 0.18, 0.05])) == 4


def test_what_cannot_be_clustered():
    with pytest.raises(InputError, match='too few'):
        cluster_tokens(np.zeros((9, 4)), (3, 3))
    with pytest.raises(InputError, match='finite'):
        cluster_tokens(np.full((400, 4), np.nan), (20, 20))


def test_labels_follow_the_regions_they_overlap():
    reference = np.repeat([[0, 0, 1, 1, 2, 2]], 6, axis=0)
    shuffled = np.array([2, 0, 1])[reference]
    np.testing.assert_array_equal(match_labels(shuffled, reference), reference)
    coarse = shuffled[::2, ::2]
    np.testing.assert_array_equal(match_labels(coarse, reference), reference[::2, ::2])
    split = np.repeat([[0, 0, 1, 1, 2, 3]], 6, axis=0)  # one cluster more: a label of its own
    renamed = match_labels(split, reference)
    assert set(np.unique(renamed)) == {0, 1, 2, 3}
    np.testing.assert_array_equal(renamed[:, :4], reference[:, :4])


@pytest.mark.parametrize('seed', range(4))
def test_no_other_pairing_overlaps_more(seed):
    labels, reference = np.random.default_rng(seed).integers(0, 4, (2, 4, 6))

    def total(renamed):
        pairs = [(renamed == i, reference == i) for i in range(4)]
        return sum((a & b).sum() / (a | b).sum() for a, b in pairs)

    best = max(total(np.array(order)[labels]) for order in itertools.permutations(range(4)))
    assert total(match_labels(labels, reference)) == pytest.approx(best)
