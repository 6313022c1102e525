"""Pipeline definitions: bytes by digest and tag, and the contract between their versions."""
