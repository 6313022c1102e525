"""What was made, by name and version: pipelines, model versions and package indexes."""
