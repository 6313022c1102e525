"""Proof in numbers: metrics from additive counts, block intervals, slices, checks."""
