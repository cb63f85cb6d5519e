"""The steps of a sweep: what one process evaluates, gathered, scored, recorded, summed up.

`fan_mm.evaluation.sweep` has the sweep itself.
"""
