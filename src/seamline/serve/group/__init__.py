"""Several data-plane processes that answer as one: what supervises them, and how they talk."""
