"""Environments, releases, policies, approvals, and the promotion state machine."""
