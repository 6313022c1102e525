"""Evaluate: prove a model version on the results of its prediction pipeline."""
