"""Runs as people and clients look at them."""
