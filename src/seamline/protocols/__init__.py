"""Wire protocols: thin adapters, one file each. They own status codes and nothing else."""
