"""Calibration: how far a model's confidence is from its accuracy.

Measured from sums per image (`measures`) that a metric collects (`metric`) from the model's
probabilities (`probabilities`), with a `temperature` or without, in sweeps and on real conditions.
"""
