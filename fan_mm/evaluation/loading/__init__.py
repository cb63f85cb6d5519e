"""Images in third-party pipelines: loaded, followed, cached for all cells.

`fan_mm.evaluation.pipelines` decides from it where a corruption goes.
"""
