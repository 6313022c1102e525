"""One attempt at one task: its folder, its call, its process, its outputs."""
