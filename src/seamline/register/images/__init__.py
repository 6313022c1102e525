"""Images: what a reference names, and the digest that a registry answers with."""
