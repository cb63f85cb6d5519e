"""Pictures on their way through a pipeline that somebody else wrote: loaded, followed, kept for all cells.

`fan_mm.evaluation.pipelines` decides from it where a corruption goes.
"""
