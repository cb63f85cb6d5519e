"""The steps of a sweep: what one process evaluates, gathered, scored, recorded, summed up.

The sweep itself is in `fan_mm.evaluation.sweep`.
"""
