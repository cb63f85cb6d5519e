"""Calibration: how far a model's confidence is from its accuracy.

A metric (`metric`) collects sums per image (`measures`) from the model's probabilities
(`probabilities`), with or without a `temperature`, in sweeps and under real conditions.
"""
