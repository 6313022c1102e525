"""Contracts as files of a team's repository, as rows of the workspace, and what a breach does."""
