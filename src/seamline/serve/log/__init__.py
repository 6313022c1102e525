"""What was answered and what came of it: segments, their tables, their upkeep."""
