"""Hooks: governance facts, told to somebody else's server by signed requests."""
