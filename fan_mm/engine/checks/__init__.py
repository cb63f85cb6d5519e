"""Checks of what third-party configs refer to, before a job starts: datasets, their files, loaders, models.

`fan_mm.engine.config_checks` runs them all, and those of one task: `classification_checks`, `detection_checks`.
A ``place`` is a key in the config, with which the error message begins.
"""
