"""Package indexes: wheels by digest, checked before they are visible."""
