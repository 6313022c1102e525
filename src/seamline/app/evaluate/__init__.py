"""Proof: a model on held-out data."""
