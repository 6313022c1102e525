"""Nouns, states, facts and errors: standard library only, no input or output."""
