"""Seamline: train once, prove it, promote the same bytes."""

__version__ = "0.1.0"
