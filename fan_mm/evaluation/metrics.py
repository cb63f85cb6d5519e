"""The formulas of corruption robustness, each with its source.

Scores and errors are in per cent. Every argument may be a number or an array of resamples
``(R,)`` (see `bootstrap`), and so may the result: one formula serves the value and its interval.

Sources:
    HD19: Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common Corruptions and
        Perturbations, ICLR 2019, section 4.
    M19: Michaelis et al., Benchmarking Robustness in Object Detection: Autonomous Driving when
        Winter is Coming, 2019, section 2.3 (equations 1 and 2).
    KR20: Kamann and Rother, Benchmarking the Robustness of Semantic Segmentation Models, CVPR 2020.
    FAN22: Zhou et al., Understanding The Robustness in Vision Transformers, ICML 2022, section A.2.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

Score = TypeVar('Score', float, np.ndarray)

# AlexNet's top-1 error as a fraction, averaged over the five severities (HD19; these values are also
# in their code and in the FAN evaluation).
ALEXNET_ERRORS = {
    'gaussian_noise': 0.886428,
    'shot_noise': 0.894468,
    'impulse_noise': 0.922640,
    'defocus_blur': 0.819880,
    'glass_blur': 0.826268,
    'motion_blur': 0.785948,
    'zoom_blur': 0.798360,
    'snow': 0.866816,
    'frost': 0.826572,
    'fog': 0.819324,
    'brightness': 0.564592,
    'contrast': 0.853204,
    'elastic_transform': 0.646056,
    'pixelate': 0.717840,
    'jpeg_compression': 0.606500,
}
# AlexNet's top-1 error on clean ImageNet as a fraction (HD19, Table 1: 43.5 per cent).
ALEXNET_CLEAN_ERROR = 0.435
# The 16 types in FAN22's ImageNet-C table (Table 12; its printed averages are up to 0.8 above the mean of
# these columns, over a set that is not specified).
FAN_IMAGENET_C = (
    *('motion_blur', 'defocus_blur', 'glass_blur', 'gaussian_blur'),
    *('gaussian_noise', 'impulse_noise', 'shot_noise', 'speckle_noise'),
    *('contrast', 'saturate', 'jpeg_compression', 'pixelate'),
    *('brightness', 'snow', 'fog', 'frost'),
)


def mean(scores: Sequence[Score]) -> Score:
    """Plain mean: over a corruption's severities, then over a group's or benchmark's corruptions.

    If corruptions have different numbers of severities (Cityscapes-C: noise 1 to 3, the rest 1 to 5,
    KR20), every corruption has the same weight, not every cell.
    """
    total: Any = sum(scores)
    return total / len(scores)


def retention(corrupted: Score, clean: Score) -> Score:
    """``R = 100 * corrupted / clean``: the share of the clean score that is kept (FAN22, A.2).

    For mPC this is ``rPC = 100 * mPC / P_clean`` (M19, equation 2).

    Args:
        corrupted: mean score over corruptions, of a group or of the benchmark, per cent.
        clean: the same model's score on clean images, per cent.

    Returns:
        Per cent; NaN if ``clean`` is 0.
    """
    with np.errstate(divide='ignore', invalid='ignore'):
        ratio = 100 * np.divide(corrupted, clean)
    kept: Any = np.where(np.equal(clean, 0), np.nan, ratio)[()]
    return kept


def mean_performance_under_corruption(scores: Mapping[str, Sequence[Score]]) -> Score:
    """``mPC = 1/N_c sum_c 1/N_s sum_s P_{c,s}`` (M19, equation 1).

    Args:
        scores: per corruption the scores of its severities, per cent.
    """
    return mean([mean(severities) for severities in scores.values()])


def worst_corruption(scores: Mapping[str, Sequence[Score]]) -> Score:
    """``min_c 1/N_s sum_s P_{c,s}``: the mean of the worst corruption (SemSegBench's GAM).

    Args:
        scores: per corruption the scores of its severities, per cent.
    """
    return np.min([mean(severities) for severities in scores.values()], axis=0)


def corruption_error(top1: Sequence[Score], corruption: str) -> Score:
    """``CE_c = 100 * sum_s E_{s,c} / sum_s E^AlexNet_{s,c}``, with ``E = 1 - accuracy`` (HD19).

    Args:
        top1: top-1 accuracy at severities 1 to 5, per cent.
        corruption: a key of `ALEXNET_ERRORS`.
    """
    return (100 - mean(top1)) / ALEXNET_ERRORS[corruption]


def mean_corruption_error(top1: Mapping[str, Sequence[Score]]) -> Score:
    """``mCE``: the mean of `corruption_error` over the 15 corruptions of ImageNet-C (HD19).

    Lower is better; AlexNet has 100.

    Args:
        top1: per corruption of `ALEXNET_ERRORS`, accuracy at severities 1 to 5, per cent.
    """
    return mean([corruption_error(top1[name], name) for name in ALEXNET_ERRORS])


def relative_corruption_error(top1: Sequence[Score], clean: Score, corruption: str) -> Score:
    """Relative CE (HD19): how much of AlexNet's loss to a corruption the model loses, per cent.

    ``100 * sum_s (E_{s,c} - E_clean) / sum_s (E^AlexNet_{s,c} - E^AlexNet_clean)``

    Args:
        top1: top-1 accuracy at severities 1 to 5, per cent.
        clean: top-1 accuracy on clean images, per cent.
        corruption: a key of `ALEXNET_ERRORS`.
    """
    return (clean - mean(top1)) / (ALEXNET_ERRORS[corruption] - ALEXNET_CLEAN_ERROR)


def relative_mean_corruption_error(top1: Mapping[str, Sequence[Score]], clean: Score) -> Score:
    """Relative mCE: the mean of `relative_corruption_error` over the same 15 corruptions (HD19)."""
    return mean([relative_corruption_error(top1[name], clean, name) for name in ALEXNET_ERRORS])
