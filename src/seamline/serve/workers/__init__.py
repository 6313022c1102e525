"""Worker processes: what runs in one, and the plane's side of it."""
