"""Robustness evaluation: a model through every cell of a corruption benchmark, and the numbers.

`sweeping` has the steps of a sweep, `loading` handles third-party pipelines, `calibration` measures
confidence, `shifts` joins the scores of real adverse conditions, `audit` looks for what makes results
silently wrong.
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
