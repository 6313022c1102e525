"""Serving: verified models in worker processes, batching, routing, the prediction log."""
