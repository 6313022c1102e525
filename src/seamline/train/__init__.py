"""Compiled pipelines become runs: read the IR, plan it, execute it, keep what it made."""
