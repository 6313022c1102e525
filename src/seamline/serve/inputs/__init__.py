"""A request's rows: read, and checked against the signature and the contract."""
