"""The first batch, before anything long starts: loaded, taken by the model, computed on by the metric.

Mistakes that affect all batches show in the first one, where they cost seconds and give one line; found in
a metric after an evaluation, or at the first validation, they cost hours.
"""
