"""What ``tools/test_ood.py`` does with segmenters and detectors: one model on real adverse conditions.

`sets` finds the conditions in their folders, `parts` makes each one's loader and metric, `evaluation`
sweeps them, `results` joins what they gave; splits without labels become a `submission`.
"""
