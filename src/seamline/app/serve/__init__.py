"""What endpoints answer with, what they are held to, and why they answered so."""
