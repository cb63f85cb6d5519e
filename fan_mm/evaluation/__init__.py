"""Robustness evaluation: a model through every cell of a corruption benchmark, and the numbers.

`sweeping` contains the steps of a sweep, `loading` handles third-party pipelines, `calibration` measures
confidence, `shifts` combines the scores under real adverse conditions, and `audit` looks for mistakes
that make results silently wrong.
"""

from fan_mm.evaluation.calibration.metric import CalibrationMetric
from fan_mm.evaluation.comparison import compare
from fan_mm.evaluation.hook import RobustnessHook
from fan_mm.evaluation.results import read_per_image, read_results
from fan_mm.evaluation.sweep import RobustnessSweep

__all__ = [
    'CalibrationMetric',
    'RobustnessHook',
    'RobustnessSweep',
    'compare',
    'read_per_image',
    'read_results',
]
