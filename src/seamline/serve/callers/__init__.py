"""Who may ask the data plane for what."""
