"""Releases and their way through the environments."""
