"""Who is asking, what they may do, and whether the bytes are the ones that were signed."""
