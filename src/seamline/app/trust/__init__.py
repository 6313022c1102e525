"""Keys, secrets and the ledger, for people."""
