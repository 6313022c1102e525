"""Use cases that need several rooms, one file each; `reactions` says what follows what."""
