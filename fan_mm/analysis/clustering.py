r"""Spectral clustering of tokens (FAN paper, section 2.2 and A.6).

The tokens :math:`z_i` of a block are normalised by a softmax, their self-correlation
:math:`S_{ij} = z_i^\top z_j` is the affinity, and its leading eigenvectors are clustered (Ng et al.,
NIPS 2002).

The paper does not say along which axis the softmax runs. We use the axis of all other softmaxes in
the paper, the tokens (the sigma of Eq. 7): each channel becomes a distribution over the image.
Along the channels, the few that are large in every token would dominate all others. A LayerNorm
comes first, as at the input of every block: without it, the magnitude of the features, which grows
from block to block, would determine how sharp the softmax is.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse.linalg import LinearOperator, eigsh
from sklearn.cluster import KMeans

from fan_mm.errors import InputError

MOST_CLUSTERS = 10  # that `auto` looks for
METHOD = 'sparse eigensolver (Lanczos), scikit-learn KMeans'


@dataclass(frozen=True)
class Clusters:
    """The clustering of one grid of tokens.

    Attributes:
        labels: (H, W), 0 to K-1.
        eigenvalues: the largest of the normalised affinity, descending; the first is 1.
    """

    labels: np.ndarray
    eigenvalues: np.ndarray


def normalise_tokens(tokens: np.ndarray) -> np.ndarray:
    """Normalise each token (N, C) over its channels, then each channel by a softmax over tokens.

    Returns:
        (N, C) float64; every column sums to 1.
    """
    tokens = np.asarray(tokens, np.float64)
    variance = tokens.var(-1, keepdims=True)
    tokens = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(variance + 1e-6)
    exponentials = np.exp(tokens - tokens.max(0))
    return exponentials / exponentials.sum(0)


def leading_eigenvectors(tokens: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Leading eigenvectors of the normalised affinity, without the N x N matrix.

    With :math:`S = ZZ^\top` without its diagonal and :math:`D` its row sums, the matrix is
    :math:`D^{-1/2} S D^{-1/2}`. A product with it is two products with Z, (N, C), which is all that
    the Lanczos method needs: time and memory grow linearly with N, and nothing is approximated.

    Args:
        tokens: (N, C).
        count: number of eigenvectors, less than N.

    Returns:
        Eigenvalues, descending, (count,), and the embedding :math:`D^{-1/2} v`, (N, count), as
        scikit-learn's ``SpectralClustering`` uses it.
    """
    z = normalise_tokens(tokens)
    diagonal = np.square(z).sum(1)
    degree = z @ z.sum(0) - diagonal
    scale = 1 / np.sqrt(degree)

    def product(vector: np.ndarray) -> np.ndarray:
        scaled = scale * np.ravel(vector)
        return scale * (z @ (scaled @ z) - diagonal * scaled)

    operator = LinearOperator((len(z), len(z)), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).uniform(-1, 1, len(z))
    # twice ARPACK's own basis: eigenvalues close together converge in a fraction of the steps
    values, vectors = eigsh(operator, k=count, which='LA', v0=start, ncv=4 * count)
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order] * scale[:, None]


def clusters_from_eigenvalues(eigenvalues: np.ndarray) -> int:
    """The number of clusters: the position of the largest gap between neighbouring eigenvalues, at least 2.

    Eigenvalues of the normalised affinity, descending. K separate groups have K eigenvalues near 1
    (Ng et al. 2002; Zelnik-Manor and Perona 2004).
    """
    return 2 + int(np.argmax(eigenvalues[1:-1] - eigenvalues[2:]))


def cluster_tokens(
    tokens: np.ndarray, grid: tuple[int, int], clusters: int | None = None
) -> Clusters:
    """Cluster the tokens of one image.

    The steps of scikit-learn's ``SpectralClustering``, without forming the N x N affinity:
    `leading_eigenvectors`, then ``KMeans``.

    Args:
        tokens: (N, C), as the block computed them.
        grid: (H, W), N = H * W.
        clusters: K; None derives it from the eigenvalues (`clusters_from_eigenvalues`).

    Raises:
        InputError: fewer tokens than clusters, or values that are not finite.
    """
    count = len(tokens)
    if count < (clusters or MOST_CLUSTERS) + 2:
        raise InputError(f'{count} tokens are too few to cluster: use a larger --size')
    if not np.isfinite(tokens).all():
        raise InputError('some tokens are not finite')
    # of a small grid there are fewer eigenvectors than `auto` looks at
    number = min(max(clusters or 0, MOST_CLUSTERS) + 1, count - 1)
    values, embedding = leading_eigenvectors(tokens, number)
    clusters = clusters or clusters_from_eigenvalues(values)
    labels = KMeans(clusters, n_init=10, random_state=0).fit_predict(embedding[:, :clusters])
    return Clusters(labels.reshape(grid), values)


def stretch(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Upsample token labels to pixels, (H, W)."""
    rows = np.arange(size[0]) * labels.shape[0] // size[0]
    columns = np.arange(size[1]) * labels.shape[1] // size[1]
    return labels[rows[:, None], columns]


def match_labels(labels: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Rename clusters so that regions that overlap regions of a reference get their labels.

    One-to-one, with the largest total intersection over union. Clusters without a counterpart get
    the smallest labels that neither side uses.

    Args:
        labels: (H, W).
        reference: (H', W') of the same image; resampled if its size differs.

    Returns:
        (H, W).
    """
    reference = stretch(reference, labels.shape)
    own, theirs = np.unique(labels), np.unique(reference)
    masks = labels.ravel() == own[:, None], reference.ravel() == theirs[:, None]
    common = masks[0].astype(float) @ masks[1].T.astype(float)
    union = masks[0].sum(1)[:, None] + masks[1].sum(1) - common
    overlap = common / union
    renamed = {
        own[i]: theirs[j]
        for i, j in zip(*linear_sum_assignment(-overlap), strict=True)
        if overlap[i, j] > 0
    }
    free = (i for i in range(len(own) + len(theirs)) if i not in theirs)
    for label in own:
        if label not in renamed:
            renamed[label] = next(free)
    return np.vectorize(renamed.get)(labels)
