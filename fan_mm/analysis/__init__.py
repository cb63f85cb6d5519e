"""Seeing why: what tokens a backbone computes, how they group, how noise decays, what it costs.

Works on any mm backbone through forward hooks. It uses models, engine, corruptions and the drawing
functions of `fan_mm.report`; nothing but tools uses it.
"""
