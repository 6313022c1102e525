"""Seamline's engine beside its physical floor and its peers: `python -m bench.orchestration`."""
