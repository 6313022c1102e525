"""Requirement set → environment (uv), warm fork servers, task processes with limits and logs."""
