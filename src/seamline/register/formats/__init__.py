"""How a model's bytes are written down, and what loading them would do; told without loading."""
