"""What ``tools/test_ood.py`` does with segmenters and detectors.

`sets` finds the conditions in their folders, `parts` makes each one's loader and metric, `evaluation`
sweeps them, `results` joins what they gave; splits without labels become a `submission`.
Classifiers and their test sets are in `fan_mm.jobs.ood`.
"""
