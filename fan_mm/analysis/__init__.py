"""Seeing why: what tokens a backbone computes, how they group, how noise decays, what it costs.

Works on any mm backbone through forward hooks.
"""
