"""Model versions: their wheels, fat and thin, and what their metadata says."""
