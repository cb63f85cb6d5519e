"""Spectral clustering of tokens by scikit-learn alone, from the affinity as a matrix."""

import numpy as np
from sklearn.cluster import SpectralClustering

from fan_mm.analysis.clustering import normalise_tokens


def affinity(tokens: np.ndarray) -> np.ndarray:
    """Self-correlation (N, N) of normalised tokens (N, C)."""
    normalised = normalise_tokens(tokens)
    return normalised @ normalised.T


def spectral_labels(tokens: np.ndarray, clusters: int) -> np.ndarray:
    """The cluster of each token, (N,)."""
    return SpectralClustering(
        clusters, affinity='precomputed', eigen_solver='arpack', random_state=0
    ).fit_predict(affinity(tokens))
