"""Where rows leave to: every sink takes an export (`exports.Export`), exactly once."""
