"""Metrics of each task, from statistics that add up over rows."""
