"""Recurring runs: when a schedule is due (pure rules), its row, and the loop that requests runs."""
