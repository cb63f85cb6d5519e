"""Real adverse conditions: scores per condition and pooled, their intervals, what others print, submissions.

The sets themselves are in `fan_mm.datasets.shifts`.
"""
