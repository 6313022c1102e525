"""The scheduler: which tasks go, which results stand in, what is written."""
