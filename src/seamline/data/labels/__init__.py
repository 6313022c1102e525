"""Labels that arrive later than their rows: joined by key and time, without the future."""
