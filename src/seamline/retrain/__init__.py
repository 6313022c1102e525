"""Retrain: from an alarm to a candidate that is released, or kept back with the numbers."""
