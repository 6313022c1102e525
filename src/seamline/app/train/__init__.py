"""Runs: submitted, scheduled, repeated, debugged, waited for, and fed."""
