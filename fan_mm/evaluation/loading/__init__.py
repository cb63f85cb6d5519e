"""Images in third-party pipelines: loaded, followed, cached for all cells.

`fan_mm.evaluation.pipelines` uses it to decide where to insert a corruption.
"""
