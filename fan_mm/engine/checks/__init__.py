"""Checks of what third-party configs refer to, before a job starts: datasets, their files, loaders, models.

`fan_mm.engine.config_checks` asks them all, and those of one task: `classification_checks`, `detection_checks`.
A ``place`` is where something stands in the config: an error's line begins with it.
"""
