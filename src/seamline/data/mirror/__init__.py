"""Data of one environment like that of another: sampled, masked, and held against it."""
