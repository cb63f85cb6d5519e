"""Every noise against its exact law and against the reference's samples."""

import numpy as np
import pytest
from scipy import stats

from fan_mm.corruptions import corrupt

SEVERITIES = (1, 2, 3, 4, 5)
CONSTANTS = {  # imagecorruptions 1.1.2
    'gaussian_noise': (0.08, 0.12, 0.18, 0.26, 0.38),
    'speckle_noise': (0.15, 0.2, 0.35, 0.45, 0.6),
    'shot_noise': (60, 25, 12, 5, 3),
    'impulse_noise': (0.03, 0.06, 0.09, 0.17, 0.27),
}


def law(name, level, c):
    """Probability of each of the 256 results for one grey level."""
    probability = np.zeros(256)
    if name == 'shot_noise':
        counts = np.arange(c + 1)
        mass = stats.poisson.pmf(counts, level / 255 * c)
        mass[-1] = stats.poisson.sf(c - 1, level / 255 * c)
        np.add.at(probability, (counts / c * 255).astype(int), mass)
    elif name == 'impulse_noise':
        probability[level] = 1 - c
        probability[0] += c / 2
        probability[255] += c / 2
    else:
        scale = 255 * c if name == 'gaussian_noise' else max(level, 1e-9) * c
        edges = stats.norm.cdf(np.arange(1, 256), level, scale)
        probability = np.diff(np.concatenate([[0], edges, [1]]))
    return probability


def fits(counts, probability):
    """P-value of the chi-squared test, rare results lumped together."""
    expected = probability * counts.sum()
    common = expected >= 10
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    if expected[-1] < 10:  # too rare for the test: they must just be rare
        if observed[-1] > 40:
            return 0.0
        observed, expected = observed[:-1], expected[:-1]
    if len(expected) < 2:
        return 1.0
    return stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('name', CONSTANTS)
def test_law_of_every_grey_level(name, severity):
    c = CONSTANTS[name][severity - 1]
    levels = np.arange(256, dtype=np.uint8)
    image = np.repeat(levels, 3600).reshape(-1, 600, 3)
    noisy = corrupt(image, name, severity, seed=severity).reshape(256, 3600)
    pvalues = [
        fits(np.bincount(noisy[level], minlength=256), law(name, level, c)) for level in levels
    ]
    # 256 tests: the least p-value of a right law is not below 1e-6, and they are spread evenly
    assert min(pvalues) > 1e-6
    tested = [p for p in pvalues if p < 1]
    assert len(tested) > 200
    assert stats.kstest(tested, stats.uniform.cdf).pvalue > 1e-4


@pytest.mark.parametrize('name', CONSTANTS)
def test_neighbouring_severity_is_another_law(name):
    image = np.full((100, 100, 3), 120, np.uint8)
    noisy = np.bincount(corrupt(image, name, 3, seed=0).ravel(), minlength=256)
    assert fits(noisy, law(name, 120, CONSTANTS[name][2])) > 1e-4
    for other in (1, 3):
        assert fits(noisy, law(name, 120, CONSTANTS[name][other])) < 1e-12


@pytest.mark.parametrize('severity', SEVERITIES)
@pytest.mark.parametrize('name', CONSTANTS)
def test_same_samples_as_the_reference(name, severity):
    reference = pytest.importorskip('imagecorruptions')
    np.random.seed(severity)
    for level in (3, 70, 128, 250):
        image = np.full((150, 150, 3), level, np.uint8)
        ours = np.bincount(corrupt(image, name, severity, seed=9).ravel(), minlength=256)
        theirs = np.bincount(reference.corrupt(image, severity, name).ravel(), minlength=256)
        seen = ours + theirs >= 20
        table = np.array([ours[seen], theirs[seen]])
        assert stats.chi2_contingency(table).pvalue > 1e-5


@pytest.mark.parametrize('name', CONSTANTS)
def test_values_are_independent(name):
    image = np.full((200, 300, 3), 100, np.uint8)
    noisy = corrupt(image, name, 3, seed=4).astype(np.float64)
    noisy -= noisy.mean()
    bound = 5 * noisy.var() / np.sqrt(noisy.size)
    for shifted in (noisy[1:] * noisy[:-1], noisy[:, 1:] * noisy[:, :-1]):
        assert abs(shifted.mean()) < bound
    for a, b in ((0, 1), (1, 2), (0, 2)):
        assert abs((noisy[..., a] * noisy[..., b]).mean()) < 2 * bound
