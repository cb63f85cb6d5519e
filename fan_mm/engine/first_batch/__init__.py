"""The first batch, before anything long starts: loaded, taken by the model, computed on by the metric.

What is wrong with all batches shows in the first one. Found there it costs seconds, and one line;
found in a metric after an evaluation, or at the first validation, it costs hours.
"""
