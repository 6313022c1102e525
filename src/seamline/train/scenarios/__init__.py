"""A pipeline once per scenario."""
