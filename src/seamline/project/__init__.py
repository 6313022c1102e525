"""seamline.toml: read it, say what applying it would change, apply it."""
